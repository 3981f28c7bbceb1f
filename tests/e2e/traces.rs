//! Traces: what a receiver of spans gets to see.

use std::{net::SocketAddr, time::Duration};

use larder_cache::{SharedConfig, WritePolicy};
use larder_proto::admin::InspectEntryRequest;
use larder_proto::catalog::{CreateProductRequest, GetProductRequest, ListProductsRequest};
use larder_server::config::{BatchConfig, Config, ReceiverConfig, TracesConfig};
use larder_test_servers::{Redis, free_port};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::{Code, Request};

use crate::admin::admin;
use crate::harness::{Database, Receiver, Server, Span, TableLock, eventually, on_both_databases, patient, product};
use crate::metrics::scrape;

on_both_databases!(
    a_call_and_its_steps_are_one_trace,
    a_write_is_linked_to_its_invalidations_over_the_bus,
    a_write_is_linked_to_its_invalidations_without_redis,
);

/// A trace of the client's.
const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const CLIENT_SPAN: u64 = 0xb7ad_6b71_6920_3331;

const GET: &str = "larder.catalog.v1.ProductCatalog/GetProduct";
const LIST: &str = "larder.catalog.v1.ProductCatalog/ListProducts";
const CREATE: &str = "larder.catalog.v1.ProductCatalog/CreateProduct";

/// Exports spans at once.
pub(crate) fn export_to(config: &mut Config, receiver: SocketAddr) {
    let endpoint = format!("http://{receiver}").parse().expect("a URL");
    let batch = BatchConfig { delay: Duration::from_millis(1), ..BatchConfig::default() };
    config.telemetry.traces = Some(TracesConfig { batch, ..TracesConfig::new(ReceiverConfig::new(endpoint)) });
}

fn create(id: &str) -> CreateProductRequest {
    CreateProductRequest { product: Some(product(id)), ..Default::default() }
}

/// A prefix of its own in the Redis that tests share.
async fn shared() -> SharedConfig {
    let url = Redis::shared().await.url();
    let prefix = format!("traces-{}", free_port());
    SharedConfig { url, prefix, command_timeout: Duration::from_secs(5), ..SharedConfig::default() }
}

async fn replica(database: &Database, receiver: &Receiver, shared: Option<&SharedConfig>) -> Server {
    let server = Server::start_with(database, |config| {
        export_to(config, receiver.address);
        config.cache.shared = shared.cloned();
    })
    .await;
    let cache = server.running().catalog().cache();
    eventually("a replica that shares", async || {
        cache.shared_tier_up() != Some(false) && cache.bus_connected() != Some(false)
    })
    .await;
    server.settle().await;
    server
}

/// A request within the client's trace.
fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE:032x}-{CLIENT_SPAN:016x}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().expect("a header"));
    request
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), ..Default::default() }
}

async fn a_call_and_its_steps_are_one_trace(database: &Database) {
    let (receiver, shared) = (Receiver::start().await, shared().await);
    let server = replica(database, &receiver, Some(&shared)).await;
    let mut client = server.client();

    client.create_product(traced(create("a"), "01")).await.expect("a product");
    let write = receiver.span("the span of the write", |span| span.is(CREATE, SpanKind::Server)).await;
    let parent = (write.is_in(TRACE), write.span.parent_span_id.clone());
    assert_eq!(parent, (true, CLIENT_SPAN.to_be_bytes().to_vec()));
    assert_eq!(write.text("rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(write.text("rpc.method").as_deref(), Some(CREATE));
    assert_eq!(write.text("rpc.response.status_code").as_deref(), Some("OK"));
    let from = &receiver;
    let step = |name, kind, of: &Span| {
        let of = of.clone();
        async move { from.span(name, move |span| span.is(name, kind) && span.is_child_of(&of)).await }
    };
    let insert = step("INSERT products", SpanKind::Client, &write).await;
    let system = if matches!(database, Database::Sqlite(_)) { "sqlite" } else { "postgresql" };
    assert_eq!(insert.text("db.system.name").as_deref(), Some(system));
    assert_eq!(insert.text("db.collection.name").as_deref(), Some("products"));
    let publish = step("publish changes", SpanKind::Producer, &write).await;
    assert_eq!(publish.text("messaging.system").as_deref(), Some("redis"));

    // Nobody has read the page before.
    client.list_products(traced(ListProductsRequest::default(), "01")).await.expect("a page");
    let list = receiver.span("the span of the list", |span| span.is(LIST, SpanKind::Server)).await;
    step("MGET", SpanKind::Client, &list).await;
    step("SELECT products", SpanKind::Client, &list).await;
    assert_eq!(list.text("larder.cache.tier").as_deref(), Some("database"));
    assert_eq!(list.text("larder.cache.status").as_deref(), Some("miss"));
    assert_eq!(list.text("larder.cache.kind").as_deref(), Some("list"));
    assert_eq!(list.text("larder.cache.key"), None, "nobody has asked for keys");

    let missing = client.get_product(traced(get("none"), "01")).await.expect_err("there is none");
    assert_eq!(missing.code(), Code::NotFound);
    let missing = receiver.span("the span of the failure", |span| span.is(GET, SpanKind::Server)).await;
    assert_eq!(missing.text("rpc.response.status_code").as_deref(), Some("NOT_FOUND"));
    assert_eq!(missing.span.status, None, "it is no failure of the server");

    // The writer's own follower may find the change before the writer has applied it, and tells of it in a trace of its own.
    let own = |span: &Span| span.is_in(TRACE) || span.span.name == "apply changes";
    assert!(receiver.spans().iter().all(own), "{:?}", receiver.spans());
    assert_eq!(server.running().tracer().expect("a tracer").dropped(), 0);
    server.stop().await;
}

async fn a_write_is_linked_to_its_invalidations_over_the_bus(database: &Database) {
    a_write_is_linked_to_its_invalidations(database, Some(shared().await), "bus").await;
}

async fn a_write_is_linked_to_its_invalidations_without_redis(database: &Database) {
    a_write_is_linked_to_its_invalidations(database, None, "log").await;
}

/// A write on one of three replicas.
async fn a_write_is_linked_to_its_invalidations(database: &Database, shared: Option<SharedConfig>, source: &str) {
    let receiver = Receiver::start().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(database, &receiver, shared.as_ref()).await);
    }
    replicas[0].client().create_product(traced(create("a"), "01")).await.expect("a product");
    let write = receiver.span("the span of the write", |span| span.is(CREATE, SpanKind::Server)).await;
    // The writer's own follower may find the change before the writer has applied it, and then tells of it as well.
    let elsewhere = |span: &Span| span.is_linked_to(&write) && span.instance != write.instance;
    let linked = || -> Vec<Span> { receiver.spans().into_iter().filter(elsewhere).collect() };
    eventually("the spans of two invalidations", async || linked().len() == 2).await;
    let linked = linked();
    assert_ne!(linked[0].instance, linked[1].instance);
    for span in &linked {
        assert_eq!(span.span.name, "apply changes");
        assert!(!span.is_in(TRACE), "it is a trace of its own");
        // Now and then the log is faster than the bus.
        let told = span.text("larder.invalidation.source");
        assert!(told.as_deref() == Some(source) || told.as_deref() == Some("log"), "{told:?}");
    }
    for replica in &replicas {
        let request = InspectEntryRequest { key: "a".to_owned() };
        let entry = admin(replica).await.inspect_entry(request).await.expect("an answer").into_inner();
        assert_eq!(entry.changed_by_trace_id, format!("{TRACE:032x}"));
    }
    for replica in &replicas[1..] {
        let learned = replica.running().catalog().cache().commit_to_learned();
        assert_eq!(learned.bus.count + learned.log.count, 1, "{learned:?}");
        assert!(learned.bus.p99.max(learned.log.p99) < Duration::from_mins(1), "{learned:?}");
    }
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_copy_that_is_written_behind_has_a_span_for_its_wait_and_a_link_to_its_write() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let shared = SharedConfig { write: WritePolicy::Behind, ..shared().await };
    let server = replica(&database, &receiver, Some(&shared)).await;
    for (id, flags) in [("untraced", "00"), ("a", "01")] {
        server.client().create_product(traced(create(id), flags)).await.expect("a product");
    }
    let write = receiver.span("the span of the write", |span| span.is(CREATE, SpanKind::Server)).await;
    let waits = |span: &Span| span.is("wait for flush", SpanKind::Internal) && span.is_child_of(&write);
    let wait = receiver.span("the span of the wait", waits).await;
    assert_eq!(wait.text("larder.wait.for").as_deref(), Some("write_behind"));
    let flushes = |span: &Span| span.is("flush copies", SpanKind::Internal) && span.is_linked_to(&write);
    let flush = receiver.span("the span of the flush", flushes).await;
    assert!(!flush.is_in(TRACE), "a flush may serve many writes");
    assert!(flush.span.start_time_unix_nano >= wait.span.start_time_unix_nano);
    let sets = |span: &Span| span.is("PIPELINE SET", SpanKind::Client) && span.is_child_of(&flush);
    receiver.span("the span of the round trip", sets).await;
    server.stop().await;
}

#[tokio::test]
async fn a_write_that_waits_for_its_turn_has_a_span_for_the_wait_on_postgres() {
    /// Far more than the connections for writes have turns for.
    const WRITES: u32 = 24;
    let (database, receiver) = (Database::postgres().await, Receiver::start().await);
    let server = Server::start_with(&database, |config| {
        export_to(config, receiver.address);
        patient(config);
        config.storage.max_connections = 4;
    })
    .await;
    let lock = TableLock::take(&database).await;
    let writes: Vec<_> = (0..WRITES)
        .map(|number| {
            let mut client = server.client();
            let request = traced(create(&format!("p{number}")), "01");
            tokio::spawn(async move { client.create_product(request).await })
        })
        .collect();
    let under_way = async || scrape(&server).await.get("larder_calls_in_flight").copied();
    eventually("the writes under way", async || under_way().await == Some(f64::from(WRITES))).await;
    lock.release().await;
    for write in writes {
        // A very busy machine may take longer than a write waits.
        let _ = write.await.expect("no panic");
    }
    let waited = |span: &Span| span.is("wait for turn", SpanKind::Internal) && span.span.status.is_none();
    let wait = receiver.span("the span of a wait", waited).await;
    assert_eq!(wait.text("larder.wait.for").as_deref(), Some("write_queue"));
    let waiter = |span: &Span| span.is(CREATE, SpanKind::Server) && wait.is_child_of(span);
    let write = receiver.span("the span of the write that waited", waiter).await;
    let insert = |span: &Span| span.is("INSERT products", SpanKind::Client) && span.is_child_of(&write);
    let insert = receiver.span("the span of its statement", insert).await;
    assert!(insert.span.start_time_unix_nano >= wait.span.end_time_unix_nano, "the statement begins after the wait");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_its_caller_does_not_sample_leaves_no_span() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let server = replica(&database, &receiver, None).await;
    let mut client = server.client();
    client.get_product(traced(get("a"), "00")).await.expect_err("there is none");
    client.get_product(traced(get("b"), "01")).await.expect_err("there is none");
    // The drain flushes, so that whatever was queued has arrived.
    server.stop().await;
    let spans = receiver.spans();
    assert_eq!(spans.iter().filter(|span| span.is(GET, SpanKind::Server)).count(), 1, "{spans:?}");
}

#[tokio::test]
async fn the_key_and_baggage_are_told_when_asked_for() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let server = Server::start_with(&database, |config| {
        export_to(config, receiver.address);
        config.telemetry.trace_keys = true;
        config.telemetry.trace_baggage = vec!["tenant".to_owned()];
    })
    .await;
    let mut request = traced(get("a"), "01");
    request.metadata_mut().insert("baggage", "tenant=blue,secret=x".parse().expect("a header"));
    server.client().get_product(request).await.expect_err("there is none");
    let span = receiver.span("the span of the read", |span| span.is(GET, SpanKind::Server)).await;
    assert_eq!(span.text("larder.cache.key").as_deref(), Some("product:a"));
    assert_eq!(span.text("baggage.tenant").as_deref(), Some("blue"));
    assert_eq!(span.text("baggage.secret"), None);
    server.stop().await;
}

#[tokio::test]
async fn a_method_that_does_not_exist_gets_no_name_of_its_own() {
    let (database, receiver) = (Database::sqlite(), Receiver::start().await);
    let server = replica(&database, &receiver, None).await;
    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.expect("a connection");
    let codec = codec_of_products();
    let path = "/larder.catalog.v1.ProductCatalog/Nothing".parse().expect("a path");
    let refused = client.unary(Request::new(get("a")), path, codec).await.map(tonic::Response::into_inner);
    assert_eq!(refused.expect_err("no such method").code(), Code::Unimplemented);
    let span = receiver.span("a span", |span| span.is("_OTHER", SpanKind::Server)).await;
    assert_eq!(span.text("rpc.method_original").as_deref(), Some("larder.catalog.v1.ProductCatalog/Nothing"));
    server.stop().await;
}

fn codec_of_products() -> tonic_prost::ProstCodec<GetProductRequest, GetProductRequest> {
    tonic_prost::ProstCodec::default()
}

/// Calls while the receiver takes nothing. The queue holds 8 spans.
async fn calls_without_a_receiver(receiver: SocketAddr) {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        export_to(config, receiver);
        let traces = config.telemetry.traces.as_mut().expect("traces");
        traces.receiver.timeout = Duration::from_millis(200);
        traces.batch = BatchConfig { queue: 8, size: 8, timeout: Duration::from_millis(400), ..traces.batch };
    })
    .await;
    server.create(product("a")).await;
    for _ in 0..200 {
        server.get("a").await;
    }
    let tracer = server.running().tracer().expect("a tracer");
    eventually("spans that are dropped and counted", async || tracer.dropped() > 100).await;
    server.stop().await;
}

#[tokio::test]
async fn without_a_receiver_calls_succeed_and_spans_are_dropped() {
    calls_without_a_receiver(SocketAddr::from(([127, 0, 0, 1], free_port()))).await;
}

#[tokio::test]
async fn with_a_receiver_that_hangs_calls_succeed_and_spans_are_dropped() {
    calls_without_a_receiver(Receiver::hanging().await.address).await;
}
