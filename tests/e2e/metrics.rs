//! `/metrics`, beside what `CacheAdmin` says.

use std::{collections::BTreeMap, path::Path};

use larder_proto::{
    admin::{GetStatsRequest, ReplicaStats, TierStats},
    catalog::{BatchGetProductsRequest, CacheTier, ListProductsRequest},
};
use larder_test_servers::{Redis, RedisOptions};
use tokio::process::Command;

use crate::{
    admin::admin,
    harness::{Database, Server, eventually, find_tool, on_both_databases, product, run_with_input},
    http::get,
};

on_both_databases!(figures_equal_those_of_get_stats);

/// The series of a scrape with their values.
pub(crate) type Series = BTreeMap<String, f64>;

/// A figure: the series that add up to it, and what `GetStats` says of it.
type Figure = (&'static [&'static str], fn(&ReplicaStats) -> u64);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

pub(crate) async fn scrape(server: &Server) -> Series {
    let page = get(server, "/metrics", None).await;
    assert_eq!(page.status, 200);
    let samples = page.body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        })
        .collect()
}

fn tier(stats: &ReplicaStats, tier: CacheTier) -> &TierStats {
    stats.tiers.iter().find(|stats| stats.tier() == tier).expect("the tier")
}

fn l1(stats: &ReplicaStats) -> &TierStats {
    tier(stats, CacheTier::L1)
}

fn l2(stats: &ReplicaStats) -> &TierStats {
    tier(stats, CacheTier::L2)
}

fn database(stats: &ReplicaStats) -> &TierStats {
    tier(stats, CacheTier::Database)
}

macro_rules! part {
    ($part:ident.$field:ident) => {
        |stats| stats.$part.as_ref().expect("a part of the statistics").$field
    };
}

/// Loads by how they ended.
const LOADS: [&str; 3] = [
    r#"larder_load_duration_seconds_count{outcome="ok"}"#,
    r#"larder_load_duration_seconds_count{outcome="not_found"}"#,
    r#"larder_load_duration_seconds_count{outcome="error"}"#,
];

/// Each count and size of `GetStats`, except what Redis says of itself.
const FIGURES: &[Figure] = &[
    (&[r#"larder_cache_reads_total{tier="l1",result="hit"}"#], |stats| l1(stats).hits),
    (&[r#"larder_cache_reads_total{tier="l1",result="miss"}"#], |stats| l1(stats).misses),
    (&[r#"larder_cache_reads_total{tier="l1",result="stale"}"#], |stats| l1(stats).stale),
    (&[r#"larder_cache_not_found_hits_total{tier="l1"}"#], |stats| l1(stats).not_found_hits),
    (&[r#"larder_cache_sets_total{tier="l1"}"#], |stats| l1(stats).sets),
    (&[r#"larder_cache_not_stored_total{tier="l1"}"#], |stats| l1(stats).not_stored),
    (&[r#"larder_cache_deletes_total{tier="l1"}"#], |stats| l1(stats).deletes),
    (&[r#"larder_cache_evictions_total{tier="l1",cause="invalidated"}"#], |stats| l1(stats).invalid),
    (&[r#"larder_cache_evictions_total{tier="l1",cause="capacity"}"#], |stats| l1(stats).evictions),
    (&[r#"larder_cache_evictions_total{tier="l1",cause="expired"}"#], |stats| l1(stats).expired),
    (&[r#"larder_cache_entries{tier="l1"}"#], |stats| l1(stats).entries),
    (&[r#"larder_cache_size_bytes{tier="l1"}"#], |stats| l1(stats).bytes),
    (&[r#"larder_cache_capacity_bytes{tier="l1"}"#], |stats| l1(stats).capacity_bytes),
    (&[r#"larder_cache_reads_total{tier="l2",result="hit"}"#], |stats| l2(stats).hits),
    (&[r#"larder_cache_reads_total{tier="l2",result="miss"}"#], |stats| l2(stats).misses),
    (&[r#"larder_cache_sets_total{tier="l2"}"#], |stats| l2(stats).sets),
    (&["larder_l2_write_behind_dropped_total"], |stats| l2(stats).not_stored),
    (
        &[
            r#"larder_l2_rejected_copies_total{reason="invalid"}"#,
            r#"larder_l2_rejected_copies_total{reason="damaged"}"#,
            r#"larder_l2_rejected_copies_total{reason="unknown"}"#,
        ],
        |stats| l2(stats).invalid,
    ),
    (
        &[
            r#"larder_l2_errors_total{kind="connection"}"#,
            r#"larder_l2_errors_total{kind="refused"}"#,
            r#"larder_l2_errors_total{kind="timeout"}"#,
        ],
        |stats| l2(stats).errors,
    ),
    (&[r#"db_client_operation_duration_seconds_count{db_system_name="redis"}"#], |stats| {
        l2(stats).latency.as_ref().expect("the latency of Redis").count
    }),
    (&LOADS, |stats| database(stats).latency.as_ref().expect("the latency of loads").count),
    (&["larder_loads_total"], part!(loads.loads)),
    (&["larder_load_errors_total"], part!(loads.errors)),
    (&["larder_single_flight_joins_total"], part!(loads.joined)),
    (&["larder_loads_refused_total"], part!(loads.refused)),
    (&[r#"larder_leases_total{outcome="won"}"#], part!(loads.leases_won)),
    (&[r#"larder_leases_total{outcome="lost"}"#], part!(loads.leases_lost)),
    (&[r#"larder_leases_total{outcome="taken"}"#], part!(loads.leases_taken_over)),
    (&["larder_prefetches_total"], part!(prefetch.loaded)),
    (&[r#"larder_prefetched_copies_total{outcome="used"}"#], part!(prefetch.used)),
    (&[r#"larder_prefetched_copies_total{outcome="unused"}"#], part!(prefetch.unused)),
    (&["larder_bus_messages_total"], part!(bus.messages)),
    (&["larder_bus_changes_total"], part!(bus.changes)),
    (&["larder_bus_undecodable_total"], part!(bus.unknown)),
    (&["larder_bus_overflows_total"], part!(bus.overflows)),
    (&["larder_bus_disconnects_total"], part!(bus.disconnects)),
    (&["larder_l2_breaker_opened_total"], part!(bus.breaker_opened)),
    (&["larder_bus_up"], |stats| u64::from(stats.bus.as_ref().expect("the bus").connected)),
];

#[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "whole numbers, all of them small")]
async fn figures_equal_those_of_get_stats(database: &Database) {
    let redis = Redis::start(RedisOptions::default()).await;
    let replica = async || {
        Server::start_with(database, |config| {
            let url = redis.url();
            config.cache.shared = Some(larder_cache::SharedConfig { url, ..config.shared.clone() });
        })
        .await
    };
    let (server, other) = (replica().await, replica().await);
    let cache = server.running().catalog().cache();
    eventually("replicas that know each other", async || cache.replicas().len() == 1).await;
    for id in ["a", "b", "c"] {
        server.create(product(id)).await;
        other.create(product(&format!("other-{id}"))).await;
    }
    for id in ["a", "a", "b", "none", "none", "other-a"] {
        let _ = server.read(id, None).await;
        let _ = other.read(id, None).await;
    }
    server.delete("a").await;
    let _ = server.read("a", None).await;
    // Nobody has written the page through.
    server.client().list_products(ListProductsRequest::default()).await.expect("a page");
    other.settle().await;
    server.settle().await;

    // Messages of the bus arrive at all times: each figure is compared when two scrapes agree on it.
    let mut left: Vec<_> = FIGURES.iter().collect();
    eventually("figures at rest", async || {
        let before = scrape(&server).await;
        let stats = admin(&server).await.get_stats(GetStatsRequest::default()).await.expect("statistics");
        let after = scrape(&server).await;
        let stats = stats.into_inner().replicas.remove(0);
        left.retain(|(names, of)| {
            let sum = |series: &Series| -> f64 {
                names.iter().map(|&name| series.get(name).unwrap_or_else(|| panic!("{name} is missing"))).sum()
            };
            let (before, told, after) = (sum(&before), of(&stats) as f64, sum(&after));
            assert!((before..=after).contains(&told), "{names:?}: {before}, GetStats says {told}, {after}");
            // To answer, GetStats asks Redis.
            before != after && !names[0].starts_with("db_client_operation")
        });
        left.is_empty()
    })
    .await;

    let series = scrape(&server).await;
    for name in [
        r#"larder_cache_reads_total{tier="l1",result="hit"}"#,
        r#"larder_cache_reads_total{tier="l1",result="miss"}"#,
        r#"larder_cache_not_found_hits_total{tier="l1"}"#,
        r#"larder_invalidations_total{source="own",subject="entry"}"#,
        r#"larder_invalidations_total{source="bus",subject="entry"}"#,
        r#"larder_changelog_passes_total{outcome="ok"}"#,
        LOADS[0],
        LOADS[1],
        "larder_redis_memory_bytes",
        "larder_redis_clients",
        "larder_redis_commands_total",
        "larder_replica_in_sync",
        "larder_peers",
        "larder_ready",
        "larder_runtime_workers",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        assert!(series[name] > 0.0, "{name}: {:?}", series.get(name));
    }
    let call = |method: &str, code: &str| {
        let labels = format!(
            r#"rpc_system_name="grpc",rpc_method="larder.catalog.v1.ProductCatalog/{method}",rpc_response_status_code="{code}""#
        );
        series[&format!("rpc_server_call_duration_seconds_count{{{labels}}}")]
    };
    assert_eq!(call("GetProduct", "OK"), 4.0);
    assert_eq!(call("GetProduct", "NOT_FOUND"), 3.0);
    assert_eq!((call("CreateProduct", "OK"), call("DeleteProduct", "OK")), (3.0, 1.0));
    assert_eq!(series[LOADS[2]], 0.0, "no load failed");
    for server in [server, other] {
        server.stop().await;
    }
}

/// Distinct ids that the test below reads. `LARDER_TEST_IDS=1000000` makes them more.
fn distinct_ids() -> usize {
    std::env::var("LARDER_TEST_IDS").map_or(5_000, |text| text.parse().expect("LARDER_TEST_IDS to be a number"))
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_the_ids() {
    const BATCH: usize = 1_000;
    const KNOWN: usize = 100;
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.import((0..KNOWN).map(|number| product(&format!("p{number}")))).await;
    let mut client = server.client();
    let mut read = async |ids: Vec<String>| {
        let request = BatchGetProductsRequest { ids, ..BatchGetProductsRequest::default() };
        client.batch_get_products(request).await.expect("products").into_inner().products.len()
    };
    let _ = server.read("none", None).await;
    read(vec!["p0".to_owned()]).await;
    let before: Vec<_> = scrape(&server).await.into_keys().collect();
    let mut found = 0;
    for first in (0..distinct_ids()).step_by(BATCH) {
        found += read((first..first + BATCH).map(|number| format!("p{number}")).collect()).await;
        let _ = server.read(&format!("none{first}"), None).await;
    }
    assert_eq!(found, KNOWN);
    let after: Vec<_> = scrape(&server).await.into_keys().collect();
    assert_eq!(before, after);
    // With --nocapture it shows.
    println!("{} series", after.len());
    server.stop().await;
}

#[tokio::test]
async fn both_formats_pass_the_checks_of_prometheus() {
    let server = Server::start(&Database::sqlite()).await;
    let mut request = tonic::Request::new(larder_proto::catalog::GetProductRequest::default());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", parent.parse().expect("a header"));
    server.client().get_product(request).await.expect_err("there is no id");

    let text = get(&server, "/metrics", None).await;
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(!text.body.contains("trace_id"), "{}", text.body);
    let open_metrics = get(&server, "/metrics", Some(OPEN_METRICS)).await;
    assert_eq!(open_metrics.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open_metrics.body.ends_with("\n# EOF\n"), "{}", open_metrics.body);
    let traced =
        open_metrics.body.lines().filter(|line| line.contains(" # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"}"));
    assert_eq!(traced.count(), 1, "an exemplar: {}", open_metrics.body);

    if let Some(promtool) = find_tool("LARDER_TEST_PROMTOOL", "promtool") {
        let (passed, told) = check(&promtool, &text.body).await;
        assert!(passed && told.is_empty(), "{told}");
    }
    server.stop().await;
}

/// Runs `promtool check metrics`; returns whether it passed, and what it told.
async fn check(promtool: &Path, text: &str) -> (bool, String) {
    let output = run_with_input(Command::new(promtool).args(["check", "metrics"]), text).await;
    (
        output.status.success(),
        [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat(),
    )
}
