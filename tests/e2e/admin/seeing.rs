//! What there is to see: statistics, health, entries, hot keys.

use larder_proto::{
    admin::{
        BreakerState, EntryKind, GetHealthRequest, GetStatsRequest, InspectEntryRequest, ListHotKeysRequest,
        PurgeExpiredRequest, ReplicaStats, TierEntry, TierStats, WatchStatsRequest,
    },
    catalog::{CacheTier, GetProductRequest},
};

use super::{Admin, Cluster, Kind, admin, stock, warm};
use crate::harness::{Database, Server, eventually, named, on_both_databases};

on_both_databases!(statistics_count_what_happened, an_entry_is_explained_on_every_tier, a_healthy_replica_says_so);

async fn statistics_count_what_happened(database: &Database) {
    let server = Server::start(database).await;
    stock(&server).await;
    let mut admin = admin(&server).await;
    let before = own(&mut admin).await;
    server.get("touched").await;
    server.get("touched").await;
    server.client().get_product(GetProductRequest { id: "none".to_owned(), read: None }).await.expect_err("no product");
    Kind::Tags.invalidate(&mut admin, false).await;
    Kind::Categories.invalidate(&mut admin, false).await;
    server.get("touched").await;
    let after = own(&mut admin).await;
    let (l1, l1_before) = (of(&after, CacheTier::L1), of(&before, CacheTier::L1));
    assert_eq!((l1.hits - l1_before.hits, l1.misses - l1_before.misses), (1, 3));
    assert_eq!(l1.requests, l1.hits + l1.misses + l1.stale);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = l1.hits as f64 / l1.requests as f64;
    assert!((l1.hit_rate - share).abs() < 1e-9);
    let (loads, loads_before) = (after.loads.expect("loads"), before.loads.expect("loads"));
    assert_eq!(loads.loads - loads_before.loads, 3);
    let latency = of(&after, CacheTier::Database).latency.expect("latencies");
    assert_eq!(latency.count, loads.loads);
    let nanos = |time: Option<prost_types::Duration>| {
        time.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos))
    };
    assert!(nanos(latency.p50) > 0 && nanos(latency.p50) <= nanos(latency.p99), "{latency:?}");
    let (told, told_before) = (after.invalidations.expect("counts"), before.invalidations.expect("counts"));
    assert_eq!((told.tags - told_before.tags, told.categories - told_before.categories), (1, 1));
    assert_eq!(told.from_own_writes - told_before.from_own_writes, 2);
    assert!(after.bus.is_none() && after.redis.is_none(), "there is no Redis");
    // What was read while a look was under way is not kept, and what L1 holds is weighed a little later.
    eventually("a copy that is weighed", async || {
        warm(&server, "touched").await;
        let l1 = of(&own(&mut admin).await, CacheTier::L1);
        l1.entries >= 1 && l1.bytes > 0 && l1.capacity_bytes > l1.bytes
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn every_replica_is_asked_and_who_is_silent_is_named() {
    let database = Database::postgres().await;
    let mut cluster = Cluster::sharing(&database).await;
    stock(&cluster.replicas[0]).await;
    warm(&cluster.replicas[1], "touched").await;
    let wait = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let request = GetStatsRequest { all_replicas: true, wait };
    let told = cluster.admins[0].get_stats(request).await.expect("statistics").into_inner();
    assert_eq!((told.replicas.len(), told.silent.len()), (3, 0), "{told:?}");
    let names: Vec<_> = told.replicas.iter().map(|of| of.replica.clone().expect("a replica").name).collect();
    let own = format!(":{}", cluster.replicas[0].address().port());
    assert!(names[0].ends_with(&own), "the one that answers comes first: {names:?}");
    let redis = told.replicas[0].redis.clone().expect("what Redis says");
    assert!(redis.version.starts_with(|digit: char| digit.is_ascii_digit()) && redis.keys > 0 && redis.commands > 0);
    assert!(told.replicas.iter().all(|of| of.bus.as_ref().is_some_and(|bus| bus.connected)));
    assert_eq!(told.replicas.iter().map(|of| of.bus.as_ref().map_or(0, |bus| bus.changes)).max(), Some(2));

    // Redis goes away: the others are known and do not answer.
    cluster.redis.as_ref().expect("a Redis").kill();
    let request = GetStatsRequest { wait: None, ..request };
    let told = cluster.admins[0].get_stats(request).await.expect("statistics").into_inner();
    assert_eq!((told.replicas.len(), told.silent.len()), (1, 2), "{told:?}");
    cluster.stop().await;
}

async fn an_entry_is_explained_on_every_tier(database: &Database) {
    let mut cluster = Cluster::sharing(database).await;
    let replica = &cluster.replicas[0];
    stock(replica).await;
    let etag = replica.get("touched").await.product.expect("a product").etag;
    warm(replica, "touched").await;
    let mut admin = cluster.admins[0].clone();
    eventually("a copy in Redis", async || inspect(&mut admin, "touched").await[1].present).await;
    let tiers = inspect(&mut admin, "product:touched").await;
    assert_eq!(
        tiers.iter().map(TierEntry::tier).collect::<Vec<_>>(),
        [CacheTier::L1, CacheTier::L2, CacheTier::Database]
    );
    for entry in &tiers {
        assert!(entry.present && entry.valid, "{entry:?}");
        assert_eq!(
            (entry.kind(), &entry.etag, entry.tags.as_slice()),
            (EntryKind::Product, &etag, &["copper".to_owned()][..])
        );
        assert_eq!(entry.categories, ["pans"]);
        assert!(entry.bytes > 100, "{entry:?}");
    }
    assert!(tiers[0].ttl.is_some() && tiers[0].age.is_some() && tiers[1].ttl.is_some() && tiers[1].horizon > 0);

    Kind::Pattern.invalidate(&mut cluster.admins[1], false).await;
    let tiers = inspect(&mut admin, "touched").await;
    assert!(!tiers[0].valid && !tiers[1].valid && tiers[2].valid, "{tiers:?}");
    assert!(tiers[1].reason.contains("learned since it was read"), "{}", tiers[1].reason);

    let tiers = inspect(&mut admin, "never-there").await;
    assert!(tiers.iter().all(|entry| !entry.present), "{tiers:?}");
    replica.read("never-there", None).await.expect_err("no product");
    assert_eq!(inspect(&mut admin, "never-there").await[0].kind(), EntryKind::NotFound);
    cluster.stop().await;
}

#[tokio::test]
async fn a_page_is_found_by_the_name_that_replies_tell() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    stock(&server).await;
    let mut admin = admin(&server).await;
    let mut request = tonic::Request::new(larder_proto::catalog::ListProductsRequest::default());
    request.metadata_mut().insert("x-cache-debug", "1".parse().expect("a value"));
    let reply = server.client().list_products(request).await.expect("a list");
    let key = reply.metadata().get("x-cache-key").expect("a name").to_str().expect("text").to_owned();
    let tiers = inspect(&mut admin, &key).await;
    assert_eq!(tiers.len(), 1, "a page has no row");
    assert!(tiers[0].valid && tiers[0].kind() == EntryKind::Page, "{tiers:?}");
    server.stop().await;
}

async fn a_healthy_replica_says_so(database: &Database) {
    let mut cluster = Cluster::sharing(database).await;
    let health = cluster.admins[0].get_health(GetHealthRequest {}).await.expect("health").into_inner();
    assert!(health.healthy, "{health:?}");
    assert_eq!(health.tiers.len(), 3);
    assert!(health.tiers.iter().all(|tier| tier.healthy && tier.latency.is_some() && tier.problem.is_empty()));
    assert_eq!(health.tiers[1].breaker(), BreakerState::Closed);
    assert!(health.bus.expect("a bus").connected);
    let log = health.change_log.expect("a change log");
    assert!(log.last_look.is_some() && log.rows.is_some(), "{log:?}");
    let server = &cluster.replicas[0];
    server.create(named("after", "The probe leaves nothing behind")).await;
    let rows = cluster.admins[0].get_health(GetHealthRequest {}).await.expect("health").into_inner().change_log;
    assert_eq!(rows.and_then(|log| log.rows), log.rows.map(|rows| rows + 1), "one row for one write, none for probes");

    cluster.redis.as_ref().expect("a Redis").kill();
    eventually("an open breaker", async || {
        let health = cluster.admins[0].get_health(GetHealthRequest {}).await.expect("health").into_inner();
        let l2 = &health.tiers[1];
        !health.healthy && !l2.healthy && l2.breaker() == BreakerState::Open && !l2.problem.is_empty()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_read_most_is_told_first() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.import((0..40).map(|number| named(&format!("p{number}"), "One of many"))).await;
    for _ in 0..20 {
        for number in 0..40 {
            for _ in 0..if number == 7 { 20 } else { 1 } {
                server.get(&format!("p{number}")).await;
            }
        }
    }
    let mut admin = admin(&server).await;
    let hot = admin.list_hot_keys(ListHotKeysRequest { page_size: 3 }).await.expect("hot keys").into_inner().keys;
    assert_eq!(hot.len(), 3);
    assert_eq!(hot[0].key, "product:p7");
    assert!(hot[0].reads >= hot[1].reads && hot[0].rate > 0.0, "{hot:?}");
    assert_eq!(admin.purge_expired(PurgeExpiredRequest {}).await.expect("a purge").into_inner().purged, 0);
    server.stop().await;
}

#[tokio::test]
async fn statistics_are_told_again_and_again() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    stock(&server).await;
    let mut admin = admin(&server).await;
    let interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = WatchStatsRequest { interval, all_replicas: true };
    let mut told = admin.watch_stats(request).await.expect("a stream").into_inner();
    let first = told.message().await.expect("no error").expect("a first message");
    server.get("touched").await;
    let requests = |of: &[ReplicaStats]| of[0].tiers[0].requests;
    loop {
        let next = told.message().await.expect("no error").expect("another message");
        if requests(&next.replicas) > requests(&first.replicas) {
            break;
        }
    }
    drop(told);
    server.stop().await;
}

async fn own(admin: &mut Admin) -> ReplicaStats {
    let told = admin.get_stats(GetStatsRequest::default()).await.expect("statistics").into_inner();
    assert_eq!((told.replicas.len(), told.silent.len()), (1, 0));
    told.replicas.into_iter().next().expect("this replica")
}

fn of(stats: &ReplicaStats, tier: CacheTier) -> TierStats {
    stats.tiers.iter().find(|of| of.tier() == tier).copied().expect("the tier")
}

async fn inspect(admin: &mut Admin, key: &str) -> Vec<TierEntry> {
    let request = InspectEntryRequest { key: key.to_owned() };
    admin.inspect_entry(request).await.expect("an entry").into_inner().tiers
}
