//! Revoked client certificates.

use super::{
    Secured,
    authority::Certified,
    caller::{Caller, Outcome},
};
use crate::harness::eventually;

const CREATE: &str = "larder.catalog.v1.ProductCatalog/CreateProduct";
/// The year in which a list of the tests expires.
const LATE: i32 = 4_000;

/// A server with a list in which nothing is revoked yet.
async fn start() -> Secured {
    Secured::start_with_files(|config, files, clients| {
        let list = files.write("revoked.pem", &clients.revoked(&[], LATE));
        config.security.tls.client_crl = Some(list);
    })
    .await
}

fn caller(secured: &Secured, certified: &Certified) -> Caller {
    Caller::new(secured.ports(), &secured.authority, Some(certified))
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_open_and_new_connections() {
    let secured = start().await;
    let [lost, kept] = [(); 2].map(|()| secured.clients.spiffe("spiffe://shop.example/till"));
    let [open, other] = [&lost, &kept].map(|certified| caller(&secured, certified));
    assert_eq!(open.outcome(CREATE).await, Outcome::Admitted);
    assert_eq!(other.outcome(CREATE).await, Outcome::Admitted);
    secured.files.write("revoked.pem", &secured.clients.revoked(&[&lost], LATE));
    secured.server.running().reload(None);
    eventually("the refusal of the revoked certificate", async || open.outcome(CREATE).await != Outcome::Admitted)
        .await;
    let refused = caller(&secured, &lost).call(CREATE).await.expect_err("no handshake");
    assert!(refused.details().is_empty(), "{refused:?}");
    assert_eq!(other.outcome(CREATE).await, Outcome::Admitted);
    assert_eq!(caller(&secured, &kept).outcome(CREATE).await, Outcome::Admitted);
    secured.server.stop().await;
}

#[tokio::test]
async fn a_broken_list_keeps_the_previous_one_and_an_expired_one_admits_nobody() {
    let secured = start().await;
    let [lost, kept] = [(); 2].map(|()| secured.clients.spiffe("spiffe://shop.example/till"));
    secured.files.write("revoked.pem", &secured.clients.revoked(&[&lost], LATE));
    secured.server.running().reload(None);
    let refuses =
        async |certified| caller(&secured, certified).call(CREATE).await.is_err_and(|e| e.details().is_empty());
    eventually("the refusal of the revoked certificate", async || refuses(&lost).await).await;
    secured.files.write("revoked.pem", "no list");
    secured.server.running().reload(None);
    assert!(refuses(&lost).await && !refuses(&kept).await, "whether the server has read the broken list or not");
    secured.files.write("revoked.pem", &secured.clients.revoked(&[], 2021));
    secured.server.running().reload(None);
    eventually("the refusal of everybody", async || refuses(&kept).await).await;
    secured.server.stop().await;
}
