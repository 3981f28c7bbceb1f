//! HTTP/1.1 while the server drains: pages that call, webhooks, the live page, metrics.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use larder_proto::catalog::{CreateProductRequest, GetProductRequest, GetProductResponse};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::BUSY;
use crate::{
    events::sender::{Delivery, SECRET, changed},
    harness::{Database, Process, eventually, framed, named, on_both_databases},
};

on_both_databases!(requests_under_way_are_answered_and_their_connections_closed);

/// A request of which the server has everything but the last byte.
struct UnderWay {
    stream: TcpStream,
    last: u8,
}

/// The last answer on a connection.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl UnderWay {
    /// Sends a POST but for its last byte, and waits until the server asks for the body: then somebody reads it.
    async fn begin(address: SocketAddr, path: &str, headers: &[(&str, String)], body: &[u8]) -> Self {
        let headers: String = headers.iter().flat_map(|(name, value)| [*name, ": ", value.as_str(), "\r\n"]).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nexpect: 100-continue\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("a socket that takes bytes");
        let mut asked = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut asked).await.expect("a wish for the body");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        let (last, rest) = body.split_last().expect("a body");
        stream.write_all(rest).await.expect("a socket that takes bytes");
        Self { stream, last: *last }
    }

    /// Sends the last byte, and reads to the end of the connection.
    async fn end(mut self) -> Answer {
        self.stream.write_all(&[self.last]).await.expect("a socket that takes bytes");
        Answer::read(&mut self.stream).await
    }
}

impl Answer {
    /// Reads to the end of the connection.
    async fn read(stream: &mut TcpStream) -> Self {
        let mut all = Vec::new();
        timeout(BUSY, stream.read_to_end(&mut all)).await.expect("an end").expect("an orderly end");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(all[..end].to_vec()).expect("text").to_ascii_lowercase();
        let body = &all[end + 4..];
        let body = if head.contains("transfer-encoding: chunked") { joined(body) } else { body.to_vec() };
        Self { head, body }
    }

    /// Whether it has a status, and ends its connection.
    fn is_last(&self, status: u16) -> bool {
        self.head.starts_with(&format!("http/1.1 {status} ")) && self.head.contains("\r\nconnection: close")
    }
}

/// The chunks of a body.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n").expect("the length of a chunk");
        let length = std::str::from_utf8(&chunks[..line]).expect("text");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return body;
        }
        let (chunk, rest) = chunks[line + 2..].split_at(length);
        body.extend_from_slice(chunk);
        chunks = rest.strip_prefix(b"\r\n").expect("the end of a chunk");
    }
}

/// The first message of a body of gRPC-Web.
fn first_message(body: &[u8]) -> &[u8] {
    let (prefix, rest) = body.split_first_chunk::<5>().expect("a message");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    &rest[..usize::try_from(length).expect("a length")]
}

/// A connection on which a request was answered, and which stays open.
async fn kept_alive(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a socket that takes bytes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    assert!(!head.contains("connection: close"), "{path}: {head}");
    stream
}

/// A stream of the live page, from which events come.
async fn listening(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /page/events HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a socket that takes bytes");
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("event: hello") {
        begun.push(stream.read_u8().await.expect("an event"));
    }
    stream
}

async fn requests_under_way_are_answered_and_their_connections_closed(database: &Database) {
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(SECRET));
    let settings = [
        ("LARDER_GRPC_WEB__ORIGINS", "*"),
        ("LARDER_WEBHOOK_SECRETS", &secret),
        // Nothing but the ends that are tested may end the process.
        ("LARDER_DRAIN_DEADLINE", "10m"),
    ];
    let mut process = Process::start_in(&settings, database).await;
    let mut client = process.client();
    let kettle = CreateProductRequest { product: Some(named("kettle", "Kettle")), ..Default::default() };
    client.create_product(kettle).await.expect("a product");
    let (catalog, http) = (process.address(), process.http_address());

    let mut idle = Vec::new();
    for (address, path) in
        [(catalog, "/"), (http, "/"), (http, "/metrics"), (http, "/livez"), (http, "/webhooks/events")]
    {
        idle.push((path, kept_alive(address, path).await));
    }
    idle.push(("/page/events", listening(http).await));
    idle.push(("nothing", TcpStream::connect(http).await.expect("a connection")));

    let get = framed(GetProductRequest { id: "kettle".to_owned(), read: None }.encode_to_vec());
    let web = [("content-type", "application/grpc-web+proto".to_owned())];
    let call = UnderWay::begin(catalog, "/larder.catalog.v1.ProductCatalog/GetProduct", &web, &get).await;
    let Delivery { headers, path, body, .. } = Delivery::new("m1", &changed(&["kettle"]));
    let webhook = UnderWay::begin(http, &path, &headers, body.as_bytes()).await;
    let json = [("content-type", "application/json".to_owned())];
    let page = UnderWay::begin(http, "/page/api/InspectEntry", &json, br#"{"key":"kettle"}"#).await;

    process.signal("TERM").await;
    // The idle ones end first: they wait for nobody.
    for (path, stream) in &mut idle {
        let mut rest = Vec::new();
        let _ = timeout(BUSY, stream.read_to_end(&mut rest)).await.unwrap_or_else(|_| panic!("{path} stays open"));
    }
    for address in [catalog, http] {
        eventually("a closed port", async || TcpStream::connect(address).await.is_err()).await;
    }

    let answer = webhook.end().await;
    assert!(answer.is_last(204), "{}", answer.head);
    let answer = page.end().await;
    assert!(answer.is_last(200) && answer.head.contains("application/json"), "{}", answer.head);
    assert!(String::from_utf8_lossy(&answer.body).contains("kettle"), "{:?}", answer.body);
    let answer = call.end().await;
    assert!(answer.is_last(200) && answer.head.contains("application/grpc-web+proto"), "{}", answer.head);
    assert!(String::from_utf8_lossy(&answer.body).contains("grpc-status: 0"), "{:?}", answer.body);
    let reply = GetProductResponse::decode(first_message(&answer.body)).expect("a reply");
    assert_eq!(reply.product.expect("a product").id, "kettle");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}
