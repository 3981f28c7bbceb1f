//! More calls than a server has room for, and callers that do not wait for their answers.

use std::{
    num::NonZero,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use larder_proto::{
    admin::{GetStatsRequest, InvalidateKeysRequest, cache_admin_client::CacheAdminClient},
    catalog::{CreateProductRequest, GetProductRequest},
};
use larder_server::config::{AdmissionConfig, Config, Rate, Role, TokenHash, TokenRule};
use larder_storage::{ProductData, WriteOptions};
use larder_test_servers::wire::{HEADERS, Wire};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::harness::{
    Client, Database, Refusal, Server, TableLock, connect, eventually, named, patient, product, refusal,
};

const ONE: &str = "token-of-one-caller";
const OTHER: &str = "token-of-another-caller";

fn two_callers(config: &mut Config) {
    let rule = |name: &str, token: &str| TokenRule {
        name: name.to_owned(),
        sha256: TokenHash::of(token.as_bytes()),
        role: Role::Admin,
    };
    config.security.auth.tokens = vec![rule("one", ONE), rule("other", OTHER)];
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    request
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), read: None }
}

async fn create(server: &Server, token: &str, id: &str) -> Result<(), Status> {
    let request = CreateProductRequest { product: Some(product(id)), ..Default::default() };
    server.client().create_product(by(token, request)).await.map(drop)
}

/// Health and `CacheAdmin` answer.
async fn is_in_order(server: &Server) {
    let healthy = HealthClient::new(server.channel()).check(HealthCheckRequest::default()).await;
    assert_eq!(healthy.expect("health").into_inner().status(), ServingStatus::Serving);
    let admin = server.running().admin_address().expect("an address of CacheAdmin");
    let stats = CacheAdminClient::new(connect(admin).await).get_stats(by(ONE, GetStatsRequest::default())).await;
    stats.expect("statistics");
}

#[tokio::test]
async fn a_caller_with_many_calls_leaves_places_for_others() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        two_callers(config);
        config.server.admission = AdmissionConfig { calls: 8, calls_per_caller: 6, rate: None };
    })
    .await;
    let mut wire = Wire::greet(server.address()).await;
    let authorization = format!("Bearer {ONE}");
    for number in 0..7 {
        wire.begin(number * 2 + 1, "GetProduct", &[("authorization", &authorization)]).await;
    }
    // The seventh is refused; six wait for their message.
    let answered = loop {
        let frame = wire.receive().await.expect("an answer");
        if frame.kind == HEADERS {
            break frame.stream;
        }
    };
    assert_eq!(answered, 13);
    let status = create(&server, ONE, "a").await.expect_err("no place");
    assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "TOO_MANY_CALLS"));
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    create(&server, OTHER, "b").await.expect("a place for another caller");
    is_in_order(&server).await;
    drop(wire);
    eventually("a place", async || create(&server, ONE, "a").await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_caller_above_its_rate_is_told_when_to_try_again() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        two_callers(config);
        let rate = Rate { per_second: NonZero::<u32>::MIN, burst: NonZero::new(3).expect("a number") };
        config.server.admission.rate = Some(rate);
    })
    .await;
    let mut client = server.client();
    let status = loop {
        match client.get_product(by(ONE, get("none"))).await.expect_err("no product") {
            status if status.code() == Code::NotFound => {}
            status => break status,
        }
    };
    assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "RATE_LIMITED"));
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a wait");
    assert!((Duration::from_millis(1)..=Duration::from_secs(1)).contains(&wait), "{wait:?}");
    create(&server, OTHER, "b").await.expect("a call of another caller");
    for _ in 0..10 {
        is_in_order(&server).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn callers_who_leave_leave_no_query_behind() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, patient).await;
    server.create(product("a")).await;
    server.settle().await;
    let lock = TableLock::take(&database).await;
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let mut client = server.client();
        calls.spawn(async move { client.get_product(get(&format!("cold-{number}"))).await.map(drop) });
    }
    eventually("queries that wait", async || lock.waiting().await > 5).await;
    calls.shutdown().await;
    eventually("no query", async || lock.waiting().await == 0).await;
    assert!(server.stats().abandoned >= 30, "{:?}", server.stats());
    lock.release().await;
    server.get("a").await;
    server.stop().await;
}

#[tokio::test]
async fn a_write_whose_deadline_has_passed_in_the_queue_never_begins() {
    let database = Database::postgres().await;
    let server = Server::start_with(&database, |config| {
        patient(config);
        // Two of them for writes.
        config.storage.max_connections = 3;
    })
    .await;
    let lock = TableLock::take(&database).await;
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let mut client = server.client();
        let mut request = Request::new(CreateProductRequest {
            product: Some(named(&format!("late-{number}"), "Late")),
            ..Default::default()
        });
        request.set_timeout(Duration::from_millis(500));
        calls.spawn(async move { client.create_product(request).await.map(drop) });
    }
    while let Some(call) = calls.join_next().await {
        let status = call.expect("no panic").expect_err("a locked table");
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status}");
    }
    // An operator waits for no write of a call.
    let admin = server.running().admin_address().expect("an address of CacheAdmin");
    let invalidate = InvalidateKeysRequest { keys: vec!["product:a".to_owned()], ..Default::default() };
    let mut admin = CacheAdminClient::new(connect(admin).await);
    let invalidating = tokio::spawn(async move { admin.invalidate_keys(invalidate).await.map(drop) });
    lock.release().await;
    invalidating.await.expect("no panic").expect("an invalidation");
    server.create(product("last")).await;
    let written = database.shell("SELECT count(*) FROM products WHERE id LIKE 'late-%'").await;
    assert!(written.trim().parse::<u32>().expect("a number") <= 4, "{written} were written");
    let mut client = Client::new(server.channel());
    client.get_product(get("last")).await.expect("the last product");
    server.stop().await;
}

/// A thread that serves thousands of calls comes round to each of them late. Turns must not wait for it meanwhile: a database that
/// takes one write at a time would stand idle.
#[tokio::test]
async fn a_turn_to_write_waits_for_no_thread_that_serves_calls() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, patient).await;
    server.create(product("a")).await;
    let mut lock = SqliteConnection::connect(&database.url()).await.expect("a connection");
    lock.execute("BEGIN IMMEDIATE").await.expect("the write lock");
    let ids = || (0..10).map(|number| format!("late-{number}"));
    let data = ProductData { name: "Late".to_owned(), ..ProductData::default() };
    let mut writes: Vec<_> = ids()
        .map(|id| Box::pin(server.running().catalog().create(id, data.clone(), WriteOptions::default())))
        .collect();
    // They begin, and nobody comes round to them again.
    for write in &mut writes {
        assert!(matches!(pin!(write).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    lock.execute("COMMIT").await.expect("the end of the lock");
    eventually("all writes", async || {
        let written = database.shell("SELECT count(*) FROM products WHERE id LIKE 'late-%'").await;
        written.trim() == "10"
    })
    .await;
    drop(writes);
    server.stop().await;
}
