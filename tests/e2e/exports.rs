//! Metrics by OTLP, and exports over HTTP.

use std::{net::SocketAddr, time::Duration};

use larder_proto::catalog::GetProductRequest;
use larder_server::config::{BatchConfig, Config, MetricsConfig, Protocol, ReceiverConfig, TracesConfig};
use larder_test_servers::free_port;
use opentelemetry_proto::tonic::{
    metrics::v1::{AggregationTemporality, HistogramDataPoint, Metric, metric::Data},
    trace::v1::span::SpanKind,
};
use tonic::Request;

use crate::{
    harness::{Database, Receiver, Server, eventually, points, product},
    metrics::scrape,
};

/// Longer than any test: only the end of the server exports.
const NEVER: Duration = Duration::from_hours(1);
const OFTEN: Duration = Duration::from_millis(20);
/// What differs each time that somebody looks.
const RESTLESS: [&str; 6] =
    ["process_", "larder_runtime_", "larder_bus_lag", "larder_changelog_pass_age", "_passes", "in_flight"];

fn receiver(address: SocketAddr, protocol: Protocol) -> ReceiverConfig {
    let base = format!("http://{address}");
    let endpoint = match protocol {
        Protocol::Grpc => base,
        Protocol::Http => format!("{base}/v1/metrics"),
    };
    ReceiverConfig { protocol, ..ReceiverConfig::new(endpoint.parse().expect("a URL")) }
}

fn export_metrics(config: &mut Config, receiver: ReceiverConfig, interval: Duration) {
    config.telemetry.metrics = Some(MetricsConfig { interval, ..MetricsConfig::new(receiver) });
}

/// Waits for an export that was begun later than this.
async fn next_export(receiver: &Receiver) -> Vec<Metric> {
    // One may be under way.
    let later = receiver.exports() + 2;
    eventually("an export", async || receiver.exports() >= later).await;
    receiver.metrics()
}

fn call_durations(metrics: &[Metric]) -> &[HistogramDataPoint] {
    let metric = metrics.iter().find(|metric| metric.name == "rpc.server.call.duration").expect("durations of calls");
    match &metric.data {
        Some(Data::Histogram(histogram)) => {
            assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
            &histogram.data_points
        }
        other => panic!("no histogram: {other:?}"),
    }
}

async fn figures_equal_those_of_the_page(to: Receiver, protocol: Protocol) {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        let gzip = matches!(protocol, Protocol::Http);
        export_metrics(config, ReceiverConfig { gzip, ..receiver(to.address, protocol) }, OFTEN);
    })
    .await;
    server.create(product("a")).await;
    for id in ["a", "a", "none"] {
        let _ = server.read(id, None).await;
    }
    let mut left: Option<Vec<String>> = None;
    eventually("equal figures", async || {
        let before = scrape(&server).await;
        let exported = points(&next_export(&to).await);
        let after = scrape(&server).await;
        let names = before.keys().filter(|name| !name.contains("_bucket{") && !name.contains("_sum"));
        let names = names.filter(|name| !RESTLESS.iter().any(|restless| name.contains(restless)));
        let left = left.get_or_insert_with(|| names.cloned().collect());
        assert!(left.len() < before.len());
        left.retain(|name| {
            let value = exported.get(name).unwrap_or_else(|| panic!("{name} is not exported: {exported:?}"));
            let (before, after) = (before[name], after[name]);
            if name.contains("_total") || name.contains("_count") {
                assert!((before..=after).contains(value), "{name}: {before}, {value} exported, {after}");
            }
            !((before..=before).contains(value) && (value..=value).contains(&&after))
        });
        left.is_empty()
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn exported_figures_equal_those_of_the_page() {
    figures_equal_those_of_the_page(Receiver::start().await, Protocol::Grpc).await;
}

#[tokio::test]
async fn figures_exported_over_http_equal_those_of_the_page() {
    figures_equal_those_of_the_page(Receiver::over_http().await, Protocol::Http).await;
}

#[tokio::test]
async fn the_end_of_the_server_exports_the_last_figures() {
    let to = Receiver::start().await;
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        export_metrics(config, receiver(to.address, Protocol::Grpc), NEVER);
    })
    .await;
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
    let mut request = Request::new(GetProductRequest { id: "none".to_owned(), ..GetProductRequest::default() });
    let parent = format!("00-{trace:032x}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("a header"));
    server.client().get_product(request).await.expect_err("there is none");
    assert_eq!(to.exports(), 0);
    server.stop().await;
    assert_eq!(to.exports(), 1);

    let metrics = to.metrics();
    let calls = call_durations(&metrics);
    let ended: Vec<_> = calls.iter().filter(|point| point.count > 0).collect();
    let [call] = ended[..] else { panic!("one call: {ended:?}") };
    assert_eq!((call.count, call.bucket_counts.iter().sum::<u64>()), (1, 1));
    assert_eq!(call.bucket_counts.len(), call.explicit_bounds.len() + 1);
    assert!(0 < call.start_time_unix_nano && call.start_time_unix_nano <= call.time_unix_nano, "{call:?}");
    let traced: Vec<_> = call.exemplars.iter().map(|exemplar| exemplar.trace_id.clone()).collect();
    assert_eq!(traced, [trace.to_be_bytes()]);
}

/// Calls while the receiver takes no metrics. The server ends within its time to drain all the same.
async fn calls_without_a_receiver(address: SocketAddr, protocol: Protocol) {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        export_metrics(config, receiver(address, protocol), OFTEN);
        let metrics = config.telemetry.metrics.as_mut().expect("metrics");
        metrics.timeout = Duration::from_millis(100);
    })
    .await;
    server.create(product("a")).await;
    for _ in 0..100 {
        server.get("a").await;
    }
    eventually("points that are dropped and counted", async || {
        let dropped = scrape(&server).await[r#"larder_telemetry_dropped_total{signal="metrics"}"#];
        server.get("a").await;
        dropped > 1_000.0
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn without_a_receiver_of_metrics_calls_succeed_and_points_are_dropped() {
    calls_without_a_receiver(SocketAddr::from(([127, 0, 0, 1], free_port())), Protocol::Grpc).await;
}

#[tokio::test]
async fn with_a_receiver_of_metrics_that_hangs_calls_succeed_and_points_are_dropped() {
    calls_without_a_receiver(Receiver::hanging().await.address, Protocol::Grpc).await;
}

#[tokio::test]
async fn without_a_receiver_over_http_calls_succeed_and_points_are_dropped() {
    calls_without_a_receiver(SocketAddr::from(([127, 0, 0, 1], free_port())), Protocol::Http).await;
}

#[tokio::test]
async fn with_a_receiver_over_http_that_hangs_calls_succeed_and_points_are_dropped() {
    calls_without_a_receiver(Receiver::hanging_over_http().await.address, Protocol::Http).await;
}

#[tokio::test]
async fn spans_are_exported_over_http_with_the_headers_given() {
    let to = Receiver::over_http().await;
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        let endpoint = format!("http://{}/v1/traces", to.address).parse().expect("a URL");
        let mut receiver = ReceiverConfig { protocol: Protocol::Http, ..ReceiverConfig::new(endpoint) };
        receiver.headers.insert("api-key", "secret".parse().expect("a header"));
        let batch = BatchConfig { delay: Duration::from_millis(1), ..BatchConfig::default() };
        config.telemetry.traces = Some(TracesConfig { batch, ..TracesConfig::new(receiver) });
    })
    .await;
    for _ in 0..2 {
        let _ = server.read("none", None).await;
        let method = "larder.catalog.v1.ProductCatalog/GetProduct";
        to.span("the span of the read", |span| span.is(method, SpanKind::Server)).await;
    }
    let headers = to.headers();
    assert_eq!(
        (&headers["api-key"], &headers["content-type"]),
        (&"secret".parse().unwrap(), &"application/x-protobuf".parse().unwrap())
    );
    assert_eq!(headers["host"], to.address.to_string());
    assert_eq!(server.running().tracer().expect("a tracer").dropped(), 0);
    server.stop().await;
}
