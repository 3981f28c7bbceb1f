//! What is served over HTTP besides webhooks.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Database, Server};

/// What was answered to a GET.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Gets a path of a server on a connection of its own.
pub(crate) async fn get(server: &Server, path: &str, accept: Option<&str>) -> Page {
    get_at(server.http_address(), path, accept).await
}

/// Gets a path at an address on a connection of its own.
pub(crate) async fn get_at(address: SocketAddr, path: &str, accept: Option<&str>) -> Page {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection for HTTP");
    // It ends with the sender.
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", "replica");
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole answer").to_bytes();
    Page { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).expect("text") }
}

#[tokio::test]
async fn probes_tell_whether_the_server_is_alive_and_ready() {
    let server = Server::start(&Database::sqlite()).await;
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/healthz", 404), ("/livez/", 404)] {
        assert_eq!(get(&server, path, None).await.status, status, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn headers_have_a_limit() {
    let server = Server::start(&Database::sqlite()).await;
    let mut stream = TcpStream::connect(server.http_address()).await.expect("a connection");
    let request = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(32 << 10));
    // The server may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stop().await;
}
