//! Certificates, authorities and rules that are replaced while the server runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use larder_server::app::Reloaded;
use larder_server::config::{AuthConfig, Role};

use super::{
    Secured, TOKENS,
    authority::{Authority, Tokens},
    caller::{Caller, OPEN, Outcome},
    rule,
};
use crate::harness::eventually;

const GET: &str = "larder.catalog.v1.ProductCatalog/GetProduct";
const CREATE: &str = "larder.catalog.v1.ProductCatalog/CreateProduct";

#[tokio::test]
async fn no_call_fails_while_certificates_are_replaced() {
    let secured = Secured::start().await;
    let (ended, calls, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::default());
    let mut load = Vec::new();
    for _ in 0..4 {
        let kept = secured.anonymous().with(TOKENS[0].0);
        let (ended, calls, failed): (_, _, Arc<AtomicU64>) =
            (Arc::clone(&ended), Arc::clone(&calls), Arc::clone(&failed));
        let (ports, trusted) = (secured.ports(), Arc::new(secured.authority.pem().to_owned()));
        load.push(tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let fresh = super::caller::channel(ports[0], &trusted, None);
                let fresh = Caller { catalog: fresh.clone(), admin: fresh, token: None }.with(TOKENS[0].0);
                for caller in [&kept, &fresh] {
                    if caller.outcome(GET).await != Outcome::Admitted {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    // The server's certificate comes from the same authority each time, as a renewed one does.
    for _ in 0..10 {
        let certified = secured.authority.server();
        secured.files.write("server.pem", &certified.certificate);
        secured.files.write("server.key", &certified.key);
        secured.server.running().reload(None);
        let before = calls.load(Ordering::Relaxed);
        eventually("calls with the new certificate", async || calls.load(Ordering::Relaxed) > before + 40).await;
    }
    // Half a replacement: the key is not that of the certificate. The server keeps what it had.
    secured.files.write("server.key", &secured.authority.server().key);
    secured.server.running().reload(None);
    let before = calls.load(Ordering::Relaxed);
    eventually("calls with the old certificate", async || calls.load(Ordering::Relaxed) > before + 40).await;
    ended.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("the load to end");
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} calls", calls.load(Ordering::Relaxed));
    secured.server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let secured = Secured::start().await;
    let next = Authority::new("the next authority");
    let hopeful = || Caller::new(secured.ports(), &next, None);
    assert!(hopeful().call(OPEN[0]).await.is_err(), "the server shows the old certificate");
    let certified = next.server();
    secured.files.write("server.pem", &certified.certificate);
    secured.files.write("server.key", &certified.key);
    // Nobody asks for it: the server looks at its files by itself.
    eventually("the new certificate", async || hopeful().call(OPEN[0]).await.is_ok()).await;
    secured.server.stop().await;
}

#[tokio::test]
async fn a_revoked_authority_ends_what_open_connections_may_do() {
    let secured = Secured::start().await;
    let till = secured.clients.spiffe("spiffe://shop.example/till");
    let till = Caller::new(secured.ports(), &secured.authority, Some(&till));
    assert_eq!(till.outcome(CREATE).await, Outcome::Admitted);
    let next = Authority::new("the next clients");
    secured.files.write("clients.pem", next.pem());
    secured.server.running().reload(None);
    eventually("the refusal of the old authority", async || {
        // A connection that breaks meanwhile cannot be made again either.
        till.call(CREATE).await.is_err_and(|status| status.code() != tonic::Code::InvalidArgument)
    })
    .await;
    let other = next.spiffe("spiffe://shop.example/till");
    let other = Caller::new(secured.ports(), &secured.authority, Some(&other));
    assert_eq!(other.outcome(CREATE).await, Outcome::Admitted);
    secured.server.stop().await;
}

#[tokio::test]
async fn keys_of_tokens_are_replaced() {
    let secured = Secured::start().await;
    let (anonymous, next) = (secured.anonymous(), Tokens::new("second"));
    let (old, new) = (secured.tokens.token("writer"), next.token("writer"));
    assert_eq!(anonymous.with(&old).outcome(CREATE).await, Outcome::Admitted);
    assert_eq!(anonymous.with(&new).outcome(CREATE).await, Outcome::Unauthenticated);
    secured.files.write("jwks.json", "not a key set");
    secured.files.write("jwks.json", &next.jwks());
    eventually("the new key", async || anonymous.with(&new).outcome(CREATE).await == Outcome::Admitted).await;
    assert_eq!(anonymous.with(&old).outcome(CREATE).await, Outcome::Unauthenticated, "the old key is gone");
    secured.server.stop().await;
}

#[tokio::test]
async fn rules_are_replaced_for_open_connections() {
    let secured = Secured::start().await;
    let caller = secured.anonymous().with(TOKENS[1].0);
    assert_eq!(caller.outcome(CREATE).await, Outcome::Admitted);
    let running = secured.server.running();
    let policies = running.catalog().cache().config().policies.clone();
    let reload = |auth| running.reload(Some(Reloaded { policies: policies.clone(), auth }));
    reload(AuthConfig { tokens: vec![rule(TOKENS[1].0, Role::Reader)], ..AuthConfig::default() });
    assert_eq!(caller.outcome(CREATE).await, Outcome::Denied);
    reload(AuthConfig { tokens: vec![rule(TOKENS[0].0, Role::Reader)], ..AuthConfig::default() });
    assert_eq!(caller.outcome(GET).await, Outcome::Unauthenticated);
    secured.server.stop().await;
}
