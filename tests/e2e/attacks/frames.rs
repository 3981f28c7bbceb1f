//! Floods of frames, and frames that mean nothing.

use std::fmt::Write as _;

use crate::harness::{Database, Server, connect, product};
use larder_test_servers::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, frame, literal,
};

/// Names the first entry of the dynamic table (RFC 7541, section 6.1).
const FIRST_DYNAMIC: u8 = 0xbe;
/// Frames of a flood: enough to tell a server that cuts it from one that does not.
const FLOOD: usize = 1 << 20;

#[tokio::test]
async fn floods_of_frames_without_work_are_cut() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(product("a")).await;
    for (kind, flags, stream, payload) in [
        (PRIORITY, 0, 1, &[0, 0, 0, 0, 16][..]),
        (WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        (0x55, 0, 0, b"anything"),
        (PING, 0, 0, &[0; 8]),
        (PING, ACK, 0, &[0; 8]),
        (SETTINGS, 0, 0, &[]),
    ] {
        let mut wire = Wire::greet(server.address()).await;
        assert!(wire.flood(&frame(kind, flags, stream, payload), FLOOD).await, "frames of type {kind} go on");
        server.get("a").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn floods_of_calls_that_are_reset_are_cut() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(product("a")).await;
    let mut wire = Wire::greet(server.address()).await;
    let block = headers("/larder.catalog.v1.ProductCatalog/GetProduct");
    let mut cut = false;
    for number in 0..20_000 {
        let stream = number * 2 + 1;
        let reset = [frame(HEADERS, END_HEADERS, stream, &block), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        cut |= wire.send(&reset).await.is_err();
    }
    // The server may go on with resets that it has answered in between; what holds is that others are served.
    if cut {
        wire.ended().await;
    }
    server.get("a").await;
    server.stop().await;
}

#[tokio::test]
async fn headers_without_end_are_cut() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(product("a")).await;
    let mut wire = Wire::greet(server.address()).await;
    wire.send(&frame(HEADERS, 0, 1, &headers("/x"))).await.expect("a beginning");
    let continuation = frame(CONTINUATION, 0, 1, &literal("x", &"y".repeat(10_000)));
    assert!(wire.flood(&continuation, 1 << 16).await, "continuations go on");
    let mut wire = Wire::greet(server.address()).await;
    wire.send(&frame(HEADERS, 0, 1, &headers("/x"))).await.expect("a beginning");
    assert!(wire.flood(&frame(CONTINUATION, 0, 1, &[]), FLOOD).await, "empty continuations go on");
    server.get("a").await;
    server.stop().await;
}

/// A header of 4 KB in the table of the connection, and a request that names it ten thousand times.
#[tokio::test]
async fn headers_that_unpack_to_megabytes_are_refused() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(product("a")).await;
    let mut wire = Wire::greet(server.address()).await;
    let mut indexed = literal("x-bomb", &"y".repeat(3_900));
    // A literal with incremental indexing.
    indexed[0] = 0x40;
    let bomb = [headers("/larder.catalog.v1.ProductCatalog/GetProduct"), indexed, vec![FIRST_DYNAMIC; 10_000]].concat();
    wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await.expect("a request");
    loop {
        match wire.receive().await {
            None => break,
            Some(received) if received.stream == 1 && [HEADERS, RST_STREAM].contains(&received.kind) => break,
            Some(received) if received.kind == GOAWAY => break,
            Some(_) => {}
        }
    }
    server.get("a").await;
    server.stop().await;
}

#[tokio::test]
async fn frames_that_mean_nothing_end_their_connection_alone() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(product("a")).await;
    let others = connect(server.address()).await;
    let mut table = String::new();
    for (name, bytes) in [
        ("a request of HTTP/1.1", b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".to_vec()),
        ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 508]].concat()),
        ("a frame of 16 MB", [PREFACE, &frame(SETTINGS, 0, 0, &[]), &[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]].concat()),
        ("data of no stream", [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(DATA, 0, 0, b"x")].concat()),
        ("an even stream", [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 2, &headers("/x"))].concat()),
        ("settings of 5 bytes", [PREFACE, &frame(SETTINGS, 0, 0, &[1; 5])].concat()),
        ("a window of 0", [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(WINDOW_UPDATE, 0, 0, &[0; 4])].concat()),
        ("no HPACK", [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 1, &[0xff; 64])].concat()),
    ] {
        let mut wire = Wire::silent(server.address()).await;
        wire.send(&bytes).await.expect("a connection that takes bytes");
        wire.ended().await;
        let got = crate::harness::Client::new(others.clone())
            .get_product(larder_proto::catalog::GetProductRequest { id: "a".to_owned(), read: None })
            .await;
        if let Err(status) = got {
            writeln!(table, "{name}: {status}").expect("text");
        }
    }
    assert_eq!(table, "");
    server.stop().await;
}

fn headers(path: &str) -> Vec<u8> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "larder"),
        ("content-type", "application/grpc"),
    ]
    .iter()
    .flat_map(|(name, value)| literal(name, value))
    .collect()
}
