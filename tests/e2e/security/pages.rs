//! The paths of HTTP.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Secured, TOKENS, token_rules};
use crate::harness::{Database, Server};

/// Sends a request on a connection of its own.
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Builder,
    body: &'static str,
) -> (StatusCode, HeaderMap, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection for HTTP");
    tokio::spawn(connection);
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole answer").to_bytes();
    (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
}

async fn get(server: &Server, path: &str, authorization: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let stream = TcpStream::connect(server.http_address()).await.expect("a connection");
    let mut request = Request::get(path).header("host", "larder.example");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    send(stream, request, "").await
}

#[tokio::test]
async fn each_path_asks_for_its_role() {
    let server = Server::start_with(&Database::sqlite(), |config| config.security.auth.tokens = token_rules()).await;
    let bearer = |at: usize| format!("Bearer {}", TOKENS[at].0);
    let basic = |at: usize| format!("Basic {}", BASE64_STANDARD.encode(format!("me:{}", TOKENS[at].0)));
    for (path, nobody, reader, admin) in [
        ("/livez", 200, 200, 200),
        ("/readyz", 200, 200, 200),
        ("/metrics", 401, 200, 200),
        ("/", 401, 403, 200),
        ("/nothing", 404, 404, 404),
    ] {
        for (authorization, expected) in
            [(None, nobody), (Some(bearer(0)), reader), (Some(bearer(2)), admin), (Some(basic(2)), admin)]
        {
            let (status, ..) = get(&server, path, authorization.as_deref()).await;
            assert_eq!(status, expected, "{path} with {authorization:?}");
        }
    }
    let (status, headers, body) = get(&server, "/", Some("Bearer wrong-token-0123456")).await;
    assert_eq!(status, 401);
    assert!(headers["www-authenticate"].to_str().expect("text").starts_with("Basic "), "a browser asks for a password");
    assert!(body.contains("UNAUTHENTICATED") && !body.contains("wrong-token"), "{body}");
    let (.., metrics) = get(&server, "/metrics", Some(&bearer(0))).await;
    let refused = "larder_calls_refused_total{reason=\"unauthenticated\"} ";
    let line = metrics.lines().find(|line| line.starts_with(refused)).expect("the metric");
    let counted: f64 = line[refused.len()..].split(' ').next().expect("a number").parse().expect("a number");
    assert!(counted >= 3.0, "{line}");
    server.stop().await;
}

#[tokio::test]
async fn an_admin_invalidates_through_the_page_from_anywhere() {
    let server = Server::start_with(&Database::sqlite(), |config| config.security.auth.tokens = token_rules()).await;
    // A name that the page does not answer without credentials.
    let request = |token: &str| {
        Request::post("/page/api/InvalidateAll")
            .header("host", "larder.example")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
    };
    for (token, expected) in [(TOKENS[1].0, 403), (TOKENS[2].0, 200)] {
        let stream = TcpStream::connect(server.http_address()).await.expect("a connection");
        let (status, _, body) = send(stream, request(token), r#"{"dryRun":true}"#).await;
        assert_eq!(status, expected, "{body}");
    }
    // The page of another site must not use the password that a browser remembers.
    let stream = TcpStream::connect(server.http_address()).await.expect("a connection");
    let foreign = request(TOKENS[2].0).header("origin", "https://other.example");
    assert_eq!(send(stream, foreign, r#"{"dryRun":true}"#).await.0, 403);
    server.stop().await;
}

#[tokio::test]
async fn http_is_served_by_tls_too() {
    let secured = Secured::start().await;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(secured.authority.pem().as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(secured.server.http_address()).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = connector.connect(name, stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = Request::get("/metrics").header("host", "localhost");
    let request = request.header("authorization", format!("Bearer {}", TOKENS[0].0));
    let (status, _, body) = send(stream, request, "").await;
    assert_eq!(status, 200);
    assert!(body.contains("larder_tls_handshakes_total{outcome=\"done\"}"), "{body}");
    secured.server.stop().await;
}
