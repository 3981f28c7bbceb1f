//! An issuer of tokens whose keys are fetched by https.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use larder_server::config::Jwks;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{
    Secured,
    authority::{Authority, Certified, Files, Tokens},
    caller::Outcome,
};
use crate::harness::eventually;

/// A web server with a key set.
struct Issuer {
    address: SocketAddr,
    served: Arc<Mutex<String>>,
    requests: Arc<AtomicU64>,
}

impl Issuer {
    async fn start(certified: &Certified, jwks: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = acceptor(certified);
        let (served, requests) = (Arc::new(Mutex::new(jwks)), Arc::new(AtomicU64::new(0)));
        let issuer = Self { address, served: Arc::clone(&served), requests: Arc::clone(&requests) };
        // It ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = service_fn(async |_: Request<Incoming>| {
                    requests.fetch_add(1, Ordering::Relaxed);
                    let jwks = served.lock().expect("no panic").clone();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(jwks))))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
        issuer
    }
}

fn acceptor(certified: &Certified) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(certified.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("a configuration")))
}

#[tokio::test]
async fn keys_are_fetched_and_fetched_again_when_one_is_unknown() {
    const GET: &str = "larder.catalog.v1.ProductCatalog/GetProduct";
    let (files, authority) = (Files::new(), Authority::new("issuer"));
    let (first, second) = (Tokens::new("first"), Tokens::new("second"));
    let issuer = Issuer::start(&authority.server(), first.jwks()).await;
    let ca = files.write("ca.pem", authority.pem());
    let secured = Secured::start_with(|config| {
        let url = format!("https://localhost:{}/jwks.json", issuer.address.port());
        let jwt = &mut config.security.auth.jwt;
        (jwt.jwks, jwt.jwks_ca) = (Some(Jwks::Url(url.parse().expect("a URL"))), Some(ca));
    })
    .await;
    let caller = secured.anonymous();
    let known = caller.with(&first.token("reader"));
    eventually("the keys", async || known.outcome(GET).await == Outcome::Admitted).await;

    *issuer.served.lock().expect("no panic") = second.jwks();
    let unknown = caller.with(&second.token("reader"));
    let mut refused = 0_u64;
    eventually("the new keys", async || {
        let outcome = unknown.outcome(GET).await;
        refused += u64::from(outcome == Outcome::Unauthenticated);
        outcome == Outcome::Admitted
    })
    .await;
    assert_eq!(known.outcome(GET).await, Outcome::Unauthenticated, "the old key is gone");
    let requests = issuer.requests.load(Ordering::Relaxed);
    assert!(refused > 0 && requests <= 10, "{requests} requests for {refused} tokens with an unknown key");
    secured.server.stop().await;
}
