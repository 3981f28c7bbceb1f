//! What many readers of a cold product cost, and what becomes of a load when its caller goes.

use std::time::Duration;

use futures_util::future::join_all;
use larder_proto::catalog::{CacheTier, GetProductRequest};
use prost::Message as _;
use tonic::{Code, transport::Channel};

use crate::harness::{
    Client, Database, Raw, Refusal, Server, TableLock, connect, eventually, framed, on_both_databases, patient,
    product, refusal, user_fields,
};

on_both_databases!(a_thousand_readers_of_a_cold_product_cost_one_load);

async fn a_thousand_readers_of_a_cold_product_cost_one_load(database: &Database) {
    let server = Server::start(database).await;
    server.create(product("a")).await;
    server.settle().await;
    let before = server.stats();
    let replies = join_all((0..1_000).map(|_| server.get("a"))).await;
    let after = server.stats();
    assert_eq!(after.loads - before.loads, 1);
    assert_eq!(after.sets - before.sets, 1);
    for reply in replies {
        assert_eq!(user_fields(reply.product.expect("a product")), product("a"));
    }
    let absent = join_all((0..1_000).map(|_| server.read("none", None))).await;
    assert!(absent.iter().all(|reply| reply.as_ref().is_err_and(|status| status.code() == Code::NotFound)));
    assert_eq!(server.stats().loads - after.loads, 1, "an absent product is no dearer");
    server.stop().await;
}

/// The same with the database's own account: while it cannot answer, one session asks.
#[tokio::test]
async fn a_thousand_readers_wait_for_one_query_on_postgres() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, patient).await;
    server.create(product("a")).await;
    server.settle().await;
    let before = server.stats();
    let lock = TableLock::take(&database).await;
    // A connection has at most 256 calls at once.
    let channels = join_all((0..4).map(|_| connect(server.address()))).await;
    let read = |channel: &Channel| {
        let mut client = Client::new(channel.clone());
        async move { client.get_product(get("a")).await.expect("the product to be read") }
    };
    let readers = async { join_all(channels.iter().cycle().take(1_000).map(read)).await };
    let release = async {
        eventually("a thousand readers, one load", async || server.stats().joins - before.joins == 999).await;
        assert_eq!(lock.waiting().await, 1, "one query");
        lock.release().await;
    };
    let (replies, ()) = tokio::join!(readers, release);
    assert_eq!(replies.len(), 1_000);
    assert_eq!(server.stats().loads - before.loads, 1);
    server.stop().await;
}

/// Whoever began a load may go: by cancelling, by a deadline, with the connection.
#[tokio::test]
async fn a_load_outlives_its_first_caller_on_postgres() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, patient).await;
    let ids = ["cancelled", "late", "gone"];
    server.import(ids.map(product)).await;
    server.settle().await;
    let before = server.stats();
    let lock = TableLock::take(&database).await;

    let mut client = server.client();
    let cancelled = tokio::spawn(async move { client.get_product(get("cancelled")).await });
    let channel = connect(server.address()).await;
    let gone = tokio::spawn(async move { Client::new(channel).get_product(get("gone")).await });
    let mut raw = Raw::connect(server.address()).await;
    let request = raw.method("GetProduct").header("grpc-timeout", "500m");
    let late = raw.send(request, framed(get("late").encode_to_vec())).await.status();
    assert_eq!(refusal(&late), Refusal::of(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    eventually("three loads", async || lock.waiting().await == 3).await;
    for first in [cancelled, gone] {
        first.abort();
        assert!(first.await.expect_err("it was cancelled").is_cancelled());
    }

    let others = ids.iter().flat_map(|id| (0..9).map(|_| server.get(id)));
    let release = async {
        eventually("the others", async || server.stats().joins - before.joins == 27).await;
        lock.release().await;
    };
    let (replies, ()) = tokio::join!(join_all(others), release);
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(user_fields(reply.product.expect("a product")), product(ids[number / 9]));
    }
    assert_eq!(server.stats().loads - before.loads, 3, "nobody began another load");
    for id in ids {
        assert_eq!(server.get(id).await.cache.expect("cache facts").tier(), CacheTier::L1, "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn loads_that_find_no_place_are_refused_on_postgres() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, |config| {
        patient(config);
        config.cache.max_loads = 1;
        config.cache.max_waiting_loads = 1;
    })
    .await;
    let ids: Vec<_> = (0..10).map(|number| format!("p{number}")).collect();
    server.import(ids.iter().map(|id| product(id))).await;
    server.create(product("first")).await;
    server.settle().await;
    let lock = TableLock::take(&database).await;
    let first = server.get("first");
    let others = async {
        eventually("the first load", async || lock.waiting().await == 1).await;
        join_all(ids.iter().map(|id| server.read(id, None))).await
    };
    let release = async {
        eventually("nine refusals", async || server.stats().refused == 9).await;
        lock.release().await;
    };
    let (_, others, ()) = tokio::join!(first, others, release);
    let refusals: Vec<_> = others.iter().filter_map(|reply| reply.as_ref().err()).map(refusal).collect();
    assert_eq!(refusals, vec![Refusal::of(Code::ResourceExhausted, "OVERLOADED"); 9], "one found a place to wait");
    for id in &ids {
        server.get(id).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_load_that_takes_too_long_is_given_up_on_postgres() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, |config| config.cache.load_timeout = Duration::from_millis(200)).await;
    server.create(product("a")).await;
    server.settle().await;
    let lock = TableLock::take(&database).await;
    let status = server.read("a", None).await.expect_err("nobody can read it");
    assert_eq!(refusal(&status), Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE"));
    lock.release().await;
    // The error was not kept. A busy machine may take longer than the time there is.
    eventually("the product", async || server.read("a", None).await.is_ok()).await;
    server.stop().await;
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), read: None }
}
