//! Connections without end.

use std::time::Duration;

use larder_proto::catalog::GetProductRequest;
use larder_test_servers::wire::{HEADERS, PREFACE, Wire};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::harness::{Client, Database, Process, Refusal, Server, connect, product, refusal};

#[tokio::test]
async fn silent_connections_make_room_for_those_that_call() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| config.server.limits.connections = 40).await;
    server.create(product("a")).await;
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut wire = Wire::silent(server.address()).await;
        // Nothing, or one byte, or half a greeting.
        let _ = wire.send(&PREFACE[..[0, 1, 12][number % 3]]).await;
        silent.push(wire);
    }
    for _ in 0..5 {
        get(connect(server.address()).await).await.expect("a place for a client that calls");
    }
    server.get("a").await;
    silent[0].ended().await;
    server.stop().await;
}

#[tokio::test]
async fn silent_connections_to_http_make_room_for_requests() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut socket = TcpStream::connect(server.http_address()).await.expect("a connection");
        // Nothing, or a part of the headers.
        let _ = socket.write_all([&b""[..], b"POST /webhooks/events HTTP/1.1\r\n"][number % 2]).await;
        silent.push(socket);
    }
    for _ in 0..5 {
        let mut probe = TcpStream::connect(server.http_address()).await.expect("a connection");
        probe.write_all(b"GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("a request");
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut rest = Vec::new();
    // An error, such as a reset, is an end as well.
    let _ = silent[0].read_to_end(&mut rest).await;
    server.stop().await;
}

#[tokio::test]
async fn a_greeting_has_an_end() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        config.server.connections.greeting = Duration::from_millis(300);
        config.server.connections.keepalive_interval = None;
    })
    .await;
    server.create(product("a")).await;
    for part in [0, 1, PREFACE.len() - 1, PREFACE.len()] {
        let mut wire = Wire::silent(server.address()).await;
        wire.send(&PREFACE[..part]).await.expect("a part of a greeting");
        wire.ended().await;
    }
    server.get("a").await;
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_answers_health_checks() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| config.server.limits.connections = 3).await;
    server.create(product("a")).await;
    // One connection is the harness's own; a peer may take three quarters of the places, rounded up.
    let mut watches = Vec::new();
    let mut channels = vec![server.channel()];
    channels.push(connect(server.address()).await);
    channels.push(connect(server.address()).await);
    for channel in &channels {
        let request = HealthCheckRequest::default();
        let watch = HealthClient::new(channel.clone()).watch(request).await.expect("a stream");
        watches.push(watch);
    }
    let spare = connect(server.address()).await;
    let status = get(spare.clone()).await.expect_err("a full server");
    assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "TOO_MANY_CONNECTIONS"));
    let healthy = HealthClient::new(spare).check(HealthCheckRequest::default()).await.expect("health").into_inner();
    assert_eq!(healthy.status(), ServingStatus::Serving);
    drop((watches, channels));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_waits_for_no_connection_without_a_call() {
    let database = Database::sqlite();
    let mut process = Process::start_with(&database, &["--drain-deadline", "10m"]).await;
    let mut idle = Vec::new();
    for number in 0..150 {
        let mut wire = match number % 3 {
            0 => Wire::silent(process.address()).await,
            1 => Wire::greet(process.address()).await,
            _ => Wire::greet(process.admin_address()).await,
        };
        if number % 6 == 0 {
            wire.send(&PREFACE[..7]).await.expect("a part of a greeting");
        }
        idle.push(wire);
    }
    // A client that had a call and reads nothing any more, so that it does not even hear that the server ends.
    let mut called = Wire::greet(process.address()).await;
    called.call(1, "GetProduct", &[], &[]).await;
    while called.receive().await.expect("an answer").kind != HEADERS {}
    process.signal("TERM").await;
    // Far sooner than the time to drain.
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

async fn get(channel: tonic::transport::Channel) -> Result<(), tonic::Status> {
    let request = GetProductRequest { id: "a".to_owned(), read: None };
    Client::new(channel).get_product(request).await.map(drop)
}
