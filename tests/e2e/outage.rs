//! The database goes away and comes back.

use std::{sync::Arc, time::Duration};

use larder_cache::Clock;
use larder_proto::catalog::{
    BatchGetProductsRequest, CreateProductRequest, DeleteProductRequest, GetProductRequest, GetProductResponse,
    ImportProductsRequest, ListProductsRequest, ReadOptions, UpdateProductRequest, read_options::Consistency,
};
use larder_test_servers::{Postgres, PostgresOptions};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::harness::{Database, Process, Refusal, Server, eventually, named, product, refusal};

async fn own_postgres() -> (Arc<Postgres>, Database) {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    (Arc::clone(&postgres), Database::on(postgres).await)
}

#[tokio::test]
async fn reads_go_on_marked_stale_while_the_database_is_away() {
    let (postgres, database) = own_postgres().await;
    let server = Server::start(&database).await;
    server.import(["a", "b", "c"].map(product)).await;
    let token = server.update(named("b", "Before"), &["name"]).await.token;
    server.settle().await;
    for id in ["a", "b"] {
        server.get(id).await;
    }
    let list = || ListProductsRequest { page_size: 2, ..Default::default() };
    server.client().list_products(list()).await.expect("a page");
    // Nobody has read this state yet, and the copy of the one before is gone.
    server.update(named("b", "After"), &["name"]).await;
    server.settle().await;
    postgres.stop();
    stale_at_last(&server, "a").await;

    let got = get(&server, "a", None).await.expect("a stale copy");
    assert_eq!(got.metadata().get("x-cache-status").expect("a header"), "STALE");
    assert!(got.get_ref().cache.is_some_and(|cache| cache.stale));
    let read = ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token)), ..Default::default() };
    let got = get(&server, "a", Some(read)).await.expect("a copy of that state, or a later one");
    assert!(got.get_ref().cache.is_some_and(|cache| cache.stale));

    let away = Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE");
    let refused = |outcome: Result<_, Status>, case: &str| match outcome {
        Ok(()) => panic!("{case} must be refused"),
        Err(status) => assert_eq!(refusal(&status), away, "{case}"),
    };
    let none = |_| ();
    refused(get(&server, "b", None).await.map(none), "what was invalidated");
    refused(get(&server, "c", None).await.map(none), "what has no copy");
    refused(get(&server, "none", None).await.map(none), "an absence without a copy");
    let fresh = ReadOptions { max_stale: Some(prost_types::Duration::default()), ..Default::default() };
    refused(get(&server, "a", Some(fresh)).await.map(none), "max_stale of zero");
    let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() };
    refused(get(&server, "a", Some(read)).await.map(none), "fully_consistent");
    let mut client = server.client();
    refused(client.list_products(list()).await.map(|_| ()), "a page that the update touched");
    let batch = BatchGetProductsRequest { ids: vec!["a".to_owned(), "b".to_owned()], read: None };
    refused(client.batch_get_products(batch).await.map(|_| ()), "a batch with what was invalidated");
    let batch = BatchGetProductsRequest { ids: vec!["a".to_owned()], read: None };
    let batch = client.batch_get_products(batch).await.expect("a stale copy");
    assert_eq!(batch.metadata().get("x-cache-status").expect("a header"), "STALE");
    for (case, outcome) in writes(&server).await {
        refused(outcome, case);
    }

    postgres.restart().await;
    eventually("fresh replies", async || {
        get(&server, "a", None).await.is_ok_and(|got| got.get_ref().cache.is_some_and(|cache| !cache.stale))
    })
    .await;
    assert_eq!(server.get("b").await.product.expect("a product").name, "After");
    let page = server.client().list_products(list()).await.expect("a page").into_inner();
    assert_eq!(page.products[1].name, "After");
    server.create(product("d")).await;
    server.stop().await;
}

/// A killed server may have lost commits, so nothing that was known before counts: no copy and no token.
#[tokio::test]
async fn nothing_of_before_counts_after_a_crash_of_the_database() {
    let (postgres, database) = own_postgres().await;
    let server = Server::start(&database).await;
    let token = server.create(product("a")).await.token;
    server.settle().await;
    server.get("a").await;
    postgres.kill();
    stale_at_last(&server, "a").await;
    // What a crash with lost commits leaves behind: another state under the same copies.
    postgres.restart().await;
    let read = || ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token.clone())), ..Default::default() };
    // The commit that the token names is there: no acknowledged write is lost.
    eventually("a look at the database that came back", async || {
        let got = get(&server, "a", Some(read())).await;
        got.is_ok_and(|got| got.get_ref().cache.is_some_and(|cache| !cache.stale))
    })
    .await;
    let got = server.get("a").await;
    assert!(got.cache.is_some_and(|cache| !cache.stale));
    let token = server.update(named("a", "Again"), &["name"]).await.token;
    let read = ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token)), ..Default::default() };
    let got = get(&server, "a", Some(read)).await.expect("a new token").into_inner();
    assert_eq!(got.product.expect("a product").name, "Again");
    server.stop().await;
}

#[tokio::test]
async fn stale_copies_have_an_end_and_so_has_readiness() {
    let (postgres, database) = own_postgres().await;
    let clock = Clock::manual();
    let server = Server::start_at(&database, clock.clone(), |config| {
        config.cache.max_stale = Duration::from_mins(3);
    })
    .await;
    server.create(product("a")).await;
    server.settle().await;
    server.get("a").await;
    assert_eq!(readiness(&server).await, ServingStatus::Serving);
    postgres.stop();
    clock.advance(Duration::from_secs(2));
    stale_at_last(&server, "a").await;
    clock.advance(Duration::from_mins(3));
    let status = get(&server, "a", None).await.expect_err("it is too old");
    assert_eq!(refusal(&status), Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE"));
    eventually("a server that is not ready", async || readiness(&server).await == ServingStatus::NotServing).await;
    assert_eq!(health(&server, "liveness").await, ServingStatus::Serving, "a restart would not help");

    postgres.restart().await;
    eventually("a server that is ready", async || readiness(&server).await == ServingStatus::Serving).await;
    let got = server.get("a").await;
    assert!(got.cache.is_some_and(|cache| !cache.stale));
    server.stop().await;
}

/// What fails is logged under the id that the caller was told.
/// A database of which every process is stopped: connections stay open, and nobody answers.
#[tokio::test]
async fn a_frozen_database_is_tried_now_and_then_until_it_answers() {
    const LOAD: Duration = Duration::from_secs(4);
    const PROBE: Duration = Duration::from_millis(250);
    let (postgres, database) = own_postgres().await;
    let clock = Clock::manual();
    let server = Server::start_at(&database, clock.clone(), |config| config.cache.load_timeout = LOAD).await;
    server.import((0..100).map(|number| product(&format!("cold-{number}"))).chain([product("warm")])).await;
    server.settle().await;
    server.get("warm").await;
    let away = Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE");
    let refused = async |ids: std::ops::Range<usize>| {
        for number in ids {
            let status = get(&server, &format!("cold-{number}"), None).await.expect_err("a frozen database");
            assert_eq!(status.code(), away.code, "{number}: {status}");
        }
    };
    let loads = || server.stats().loads;

    postgres.pause();
    let healthy = loads();
    refused(0..1).await;
    assert_eq!(loads(), healthy + 1, "it is not known yet that nobody answers");
    // From here on one load tries, and the others fail at once.
    clock.advance(LOAD);
    refused(1..2).await;
    assert_eq!(loads(), healthy + 2);
    refused(2..50).await;
    assert_eq!(loads(), healthy + 2, "no time has passed");
    let got = get(&server, "warm", None).await.expect("a stale copy").into_inner();
    assert!(got.cache.is_some_and(|cache| cache.stale));
    clock.advance(PROBE);
    refused(50..52).await;
    assert_eq!(loads(), healthy + 3, "one more has tried");

    postgres.resume();
    eventually("a database that answers", async || {
        clock.advance(PROBE);
        get(&server, "cold-60", None).await.is_ok()
    })
    .await;
    eventually("fresh replies", async || {
        get(&server, "warm", None).await.is_ok_and(|got| got.get_ref().cache.is_some_and(|cache| !cache.stale))
    })
    .await;
    for number in 61..100 {
        server.get(&format!("cold-{number}")).await;
    }
    server.create(product("new")).await;
    server.stop().await;
}

#[tokio::test]
async fn failures_are_logged_under_the_id_of_the_request() {
    let (postgres, database) = own_postgres().await;
    let mut process = Process::start(&database).await;
    postgres.stop();
    let mut client = process.client();
    let get = || GetProductRequest { id: "a".to_owned(), read: None };
    let (mut first, mut second) = (Request::new(get()), Request::new(CreateProductRequest::default()));
    second.get_mut().product = Some(product("a"));
    let import = tokio_stream::iter([ImportProductsRequest { product: Some(product("a")), line: 0 }]);
    let mut third = Request::new(import);
    for (metadata, id) in [
        (first.metadata_mut(), "of-the-read"),
        (second.metadata_mut(), "of-the-write"),
        (third.metadata_mut(), "of-the-import"),
    ] {
        metadata.insert("x-request-id", id.parse().expect("a header"));
    }
    assert_eq!(client.get_product(first).await.expect_err("no database").code(), Code::Unavailable);
    assert_eq!(client.create_product(second).await.expect_err("no database").code(), Code::Unavailable);
    let mut progress = client.import_products(third).await.expect("a stream").into_inner();
    assert_eq!(progress.message().await.expect_err("no database").code(), Code::Unavailable);
    let status = client.get_product(get()).await.expect_err("no database");
    let made = status.metadata().get("x-request-id").expect("an id").to_str().expect("text").to_owned();
    let log = process.log();
    for id in ["of-the-read", "of-the-write", "of-the-import", &made] {
        let found = log.lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
            line["level"] == "WARN" && line.to_string().contains(&format!("\"request_id\":\"{id}\""))
        });
        assert!(found, "no line of {id}:\n{log}");
    }
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0), "the database is still away");
}

/// Waits until a copy is served stale; before, it is fresh.
async fn stale_at_last(server: &Server, id: &str) {
    eventually("a stale reply", async || {
        get(server, id, None).await.expect("a copy").into_inner().cache.is_some_and(|cache| cache.stale)
    })
    .await;
}

async fn get(server: &Server, id: &str, read: Option<ReadOptions>) -> Result<Response<GetProductResponse>, Status> {
    server.client().get_product(GetProductRequest { id: id.to_owned(), read }).await
}

/// One write of each kind.
async fn writes(server: &Server) -> [(&'static str, Result<(), Status>); 4] {
    let mut client = server.client();
    let create = CreateProductRequest { product: Some(product("new")), ..Default::default() };
    let update = UpdateProductRequest { product: Some(named("a", "New")), ..Default::default() };
    let delete = DeleteProductRequest { id: "a".to_owned(), ..Default::default() };
    let import = tokio_stream::iter([ImportProductsRequest { product: Some(product("new")), line: 0 }]);
    let mut progress = client.import_products(import).await.expect("a stream").into_inner();
    [
        ("create", client.create_product(create).await.map(|_| ())),
        ("update", client.update_product(update).await.map(|_| ())),
        ("delete", client.delete_product(delete).await.map(|_| ())),
        ("import", progress.message().await.map(|_| ())),
    ]
}

async fn readiness(server: &Server) -> ServingStatus {
    health(server, "readiness").await
}

async fn health(server: &Server, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel()).check(request).await.expect("an answer").into_inner().status()
}
