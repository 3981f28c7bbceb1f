//! How a server ends: what is under way may finish, nothing that stays open keeps it, and its exit code is 0.

mod http1;

use std::time::Duration;

use larder_proto::catalog::{
    CacheTier, CreateProductRequest, GetProductRequest, ImportProductsRequest, ImportProductsResponse,
};
use larder_test_servers::{Redis, RedisOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::Streaming;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::{
    harness::{
        Client, Database, PATIENT, Process, Server, TableLock, connect, eventually, named, on_both_databases, product,
        user_fields,
    },
    http::get_at,
};

on_both_databases!(nothing_that_stays_open_keeps_a_server, asked_twice_it_ends_at_once);

/// Time to drain, and what a busy machine may add to it.
const DRAIN: (&str, Duration) = ("4s", Duration::from_secs(4));
const BUSY: Duration = Duration::from_secs(40);

#[tokio::test]
async fn calls_under_way_are_answered_on_postgres() {
    let database = Database::postgres().await;
    let other = Server::start(&database).await;
    other.create(product("a")).await;
    let mut process = Process::start_with(&database, &[&["--drain-deadline", "2m"][..], &PATIENT].concat()).await;
    let lock = TableLock::take(&database).await;
    let mut client = process.client();
    let under_way = tokio::spawn(async move { client.get_product(get("a")).await });
    eventually("a call under way", async || lock.waiting().await == 1).await;
    let mut watch = watch(&process).await;
    process.signal("TERM").await;
    assert_eq!(watch.message().await.expect("news").map(|news| news.status()), Some(ServingStatus::NotServing));
    assert_eq!(watch.message().await.expect("the end"), None);
    eventually("a closed port", async || TcpStream::connect(process.address()).await.is_err()).await;
    assert!(!under_way.is_finished());
    lock.release().await;
    let reply = under_way.await.expect("no panic").expect("a reply").into_inner();
    assert_eq!(user_fields(reply.product.expect("a product")), product("a"));
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    other.stop().await;
}

/// Copies go to Redis a little after their write: the end waits for them, so that the next replica finds them there.
#[tokio::test]
async fn what_was_acknowledged_before_the_end_is_there_and_warm() {
    const WRITERS: usize = 32;
    let (database, redis) = (Database::postgres().await, Redis::start(RedisOptions::default()).await);
    let (redis, timeout) = (redis.url(), "20s");
    let environment =
        [("REDIS_URL", redis.as_str()), ("LARDER_L2_COMMAND_TIMEOUT", timeout), ("LARDER_L2_WRITE", "behind")];
    let mut process = Process::start_in(&environment, &database).await;
    connected_to_redis(&process).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = process.client();
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let id = format!("w{writer}-{}", acknowledged.len());
                let request = CreateProductRequest { product: Some(product(&id)), ..Default::default() };
                match client.create_product(request).await {
                    Ok(_) => acknowledged.push(id),
                    Err(_) => return acknowledged,
                }
            }
        });
    }
    let mut client = process.client();
    eventually("many writes", async || client.get_product(get("w0-20")).await.is_ok()).await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    let acknowledged = writers.join_all().await.concat();
    assert!(acknowledged.len() > WRITERS, "{acknowledged:?}");

    let process = Process::start_in(&environment, &database).await;
    connected_to_redis(&process).await;
    let mut cold = Vec::new();
    for id in acknowledged {
        let got = process.client().get_product(get(&id)).await.unwrap_or_else(|status| panic!("{id}: {status}"));
        if got.into_inner().cache.is_none_or(|cache| cache.tier() == CacheTier::Database) {
            cold.push(id);
        }
    }
    assert!(cold.is_empty(), "Redis had no copies of {cold:?}");
    process.stop().await;
}

async fn connected_to_redis(process: &Process) {
    eventually("a replica that uses Redis", async || {
        let metrics = get_at(process.http_address(), "/metrics", None).await.body;
        metrics.contains("larder_l2_breaker_open 0") && metrics.contains("larder_bus_up 1")
    })
    .await;
}

async fn nothing_that_stays_open_keeps_a_server(database: &Database) {
    let mut process = Process::start_with(database, &["--drain-deadline", DRAIN.0]).await;
    let address = process.address();
    // Connected, and silent; half a greeting; a greeting and nothing more; half a frame; a client that had a call.
    let mut sockets = Vec::new();
    let greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for sent in
        [&b""[..], &greeting[..9], &greeting[..24], greeting, &[greeting, &b"\0\0\xff\x01\x04\0\0"[..]].concat()]
    {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        socket.write_all(sent).await.expect("a socket that takes bytes");
        sockets.push(socket);
    }
    let idle = connect(address).await;
    assert!(Client::new(idle.clone()).get_product(get("none")).await.is_err());
    let mut watch = watch(&process).await;
    let mut reflection = ServerReflectionClient::new(process.channel());
    let reflecting = reflection.server_reflection_info(tokio_stream::pending()).await.expect("a stream");
    let mut import = endless_import(&process).await;
    let mut reported = 0;
    while reported < 500 {
        reported = import.message().await.expect("a report").expect("a report").through_line;
    }

    process.signal("TERM").await;
    assert_eq!(watch.message().await.expect("news").map(|news| news.status()), Some(ServingStatus::NotServing));
    let ended = timeout(DRAIN.1 + BUSY, process.ended()).await.expect("an end within the time to drain");
    assert_eq!(ended.code(), Some(0), "{}", process.log());
    for mut socket in sockets {
        let mut rest = Vec::new();
        // An error, such as a reset, is an end as well.
        let _ = timeout(BUSY, socket.read_to_end(&mut rest)).await.expect("an end of each connection");
    }
    drop((idle, reflecting));

    while let Ok(Some(report)) = import.message().await {
        reported = report.through_line;
    }
    let server = Server::start(database).await;
    for line in [1, reported / 2, reported] {
        server.get(&format!("p{line}")).await;
    }
    server.stop().await;
}

async fn asked_twice_it_ends_at_once(database: &Database) {
    let mut process = Process::start_with(database, &["--drain-deadline", "10m"]).await;
    let _import = endless_import(&process).await;
    process.signal("INT").await;
    eventually("a server that drains", async || process.log().contains("draining")).await;
    process.signal("TERM").await;
    // Far below the time to drain.
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), read: None }
}

async fn watch(process: &Process) -> Streaming<tonic_health::pb::HealthCheckResponse> {
    let request = HealthCheckRequest { service: "readiness".to_owned() };
    let mut watch = HealthClient::new(process.channel()).watch(request).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("news").map(|news| news.status()), Some(ServingStatus::Serving));
    watch
}

/// An import that goes on for ever, on a connection of its own.
async fn endless_import(process: &Process) -> Streaming<ImportProductsResponse> {
    let endless =
        (1..).map(|line| ImportProductsRequest { product: Some(named(&format!("p{line}"), "Product")), line });
    let mut client = Client::new(connect(process.address()).await);
    client.import_products(tokio_stream::iter(endless)).await.expect("an import").into_inner()
}
