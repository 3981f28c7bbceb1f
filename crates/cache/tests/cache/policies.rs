//! Named policies: tiers, sliding expiration, eager refresh, limits.

use std::time::Duration;

use larder_cache::{CacheConfig, Freshness, Key, PolicyConfig, ReadOptions, Tier};

use crate::{
    shared::Cluster,
    support::{At, Bench, config, entry, list, until},
};

const MINUTE: Duration = Duration::from_mins(1);

/// With a bound so long that freshness is no question here, and another policy for items.
fn with(item: impl FnOnce(&mut PolicyConfig)) -> CacheConfig {
    let mut config = CacheConfig { staleness_bound: MINUTE * 60, ..config() };
    item(&mut config.policies.item);
    config
}

#[tokio::test]
async fn a_sliding_copy_lives_as_long_as_it_is_read_and_no_longer_than_its_time() {
    let bench = Bench::with(with(|item| item.idle = Some(MINUTE * 2))).await;
    bench.db.put("item:read", &[]);
    bench.db.put("item:left", &[]);
    bench.read("item:read").await.unwrap();
    bench.read("item:left").await.unwrap();
    for minute in 1..10 {
        bench.clock.advance(MINUTE);
        assert!(bench.cache.get("item:read").is_some(), "read every minute, in minute {minute}");
    }
    assert!(bench.cache.get("item:left").is_none(), "not read for minutes");
    bench.clock.advance(MINUTE);
    assert!(bench.cache.get("item:read").is_none(), "the absolute limit");
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn past_its_share_a_copy_is_served_and_loaded_anew_once() {
    let bench = Bench::with(with(|item| item.refresh_after = 0.8)).await;
    bench.db.put("item:a", &[]);
    let first = bench.read("item:a").await.unwrap().entry.began;
    bench.clock.advance(MINUTE * 7);
    bench.read("item:a").await.unwrap();
    assert_eq!(bench.loads(), 1, "not yet");
    bench.clock.advance(MINUTE * 2);
    bench.db.hold(At::Loaded);
    assert!(bench.cache.get("item:a").is_none(), "who cannot load leaves it to who can");
    for _ in 0..10 {
        let found = bench.read("item:a").await.unwrap();
        assert_eq!((found.tier, found.stale, found.entry.began), (Tier::L1, false, first), "nobody waits");
    }
    bench.db.reached(At::Loaded, 1).await;
    bench.db.release(At::Loaded);
    until(|| bench.cache.get("item:a").is_some_and(|entry| entry.began != first)).await;
    bench.clock.advance(MINUTE * 5);
    assert!(bench.cache.get("item:a").is_some(), "the new copy has a life of its own");
    assert_eq!((bench.loads(), bench.stats().refreshes, bench.stats().expired), (2, 1, 0));
}

/// A refresh is a load like any other: what was learned while it ran keeps its result out.
#[tokio::test]
async fn a_refresh_that_was_overtaken_is_not_kept() {
    let bench = Bench::with(with(|item| item.refresh_after = 0.5)).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.clock.advance(MINUTE * 6);
    bench.db.hold(At::Loaded);
    bench.read("item:a").await.unwrap();
    bench.db.reached(At::Loaded, 1).await;
    bench.db.put("item:a", &[]);
    let new = bench.db.committed("item:a");
    bench.pass().await;
    bench.db.release(At::Loaded);
    until(|| bench.stats().not_stored > 0).await;
    assert_eq!(bench.seq("item:a").await, Some(new));
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_copy_for_its_time() {
    let bench = Bench::with(with(|item| item.refresh_after = 0.5)).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.clock.advance(MINUTE * 6);
    bench.db.fail_loads.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.read("item:a").await.unwrap();
    until(|| bench.stats().load_errors == 1).await;
    assert_eq!(bench.read("item:a").await.unwrap().tier, Tier::L1);
    assert_eq!(bench.stats().refreshes, 1, "once");
}

#[tokio::test]
async fn a_policy_without_l1_keeps_nothing_in_memory() {
    let bench = Bench::with(with(|item| item.l1 = false)).await;
    bench.db.put("item:a", &[]);
    for _ in 0..2 {
        assert_eq!(bench.read("item:a").await.unwrap().tier, Tier::Database);
    }
    bench.read_with(list("x"), ReadOptions::default()).await.unwrap();
    assert_eq!(bench.stats().entries, 1, "the list alone");
}

#[tokio::test]
async fn what_is_larger_than_its_policy_allows_is_not_kept() {
    let bench = Bench::with(with(|item| item.max_bytes = 99)).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    assert!(bench.cache.get("item:a").is_none());
    let mut policies = (*bench.cache.policies()).clone();
    policies.item.max_bytes = 1_000;
    bench.cache.set_policies(policies);
    bench.read("item:a").await.unwrap();
    assert!(bench.cache.get("item:a").is_some(), "another policy from here on");
}

#[tokio::test]
async fn a_policy_may_lower_how_stale_its_copies_are_served() {
    let mut config = config();
    config.policies.item.max_stale = Some(Duration::ZERO);
    let bench = Bench::with(config).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.read_with(list("x"), ReadOptions::default()).await.unwrap();
    bench.db.fail_loads.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.lose_the_log().await;
    bench.read("item:a").await.unwrap_err();
    assert!(bench.read_with(list("x"), ReadOptions::default()).await.unwrap().stale);
}

/// Changes how items are kept, on every replica.
fn keep_items(cluster: &Cluster, change: impl Fn(&mut PolicyConfig)) {
    for cache in &cluster.replicas {
        let mut policies = (*cache.policies()).clone();
        change(&mut policies.item);
        cache.set_policies(policies);
    }
}

#[tokio::test]
async fn a_policy_without_l2_shares_nothing() {
    let cluster = Cluster::new(2).await;
    keep_items(&cluster, |item| item.l2 = false);
    cluster.write(0, entry("item:a", &["x"]), true).await;
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    for replica in 0..2 {
        assert_eq!(cluster.item(replica, "item:a").await.0, Tier::Database);
    }
    cluster.read(0, list("x")).await.unwrap();
    until(|| cluster.replicas[0].stats().leases_won == 1).await;
    assert_eq!(cluster.replicas[1].stats().leases_won, 0, "no right to load is asked for");
}

/// Three replicas with a copy each that is due for a refresh.
async fn due_everywhere() -> Cluster {
    let cluster = Cluster::new(3).await;
    keep_items(&cluster, |item| (item.refresh_after, item.l2_ttl) = (0.5, MINUTE));
    cluster.write(0, entry("item:a", &[]), true).await;
    for replica in 0..3 {
        cluster.replicas[replica].reach(Freshness::FullyConsistent).await.unwrap();
        cluster.item(replica, "item:a").await;
    }
    cluster.clock.advance(MINUTE * 6);
    cluster
}

/// Reads on each replica, and waits until the copy of each has been made anew.
async fn refreshed(cluster: &Cluster) {
    for replica in 0..3 {
        let found = cluster.read(replica, Key::item("item:a")).await.unwrap();
        assert_eq!((found.tier, found.stale), (Tier::L1, false), "nobody waits");
        assert_eq!(cluster.replicas[replica].stats().refreshes, 1);
        let sets = || cluster.replicas[replica].get("item:a").is_some_and(|entry| entry.began > found.entry.began);
        until(sets).await;
    }
}

#[tokio::test]
async fn a_young_copy_in_redis_is_new_enough_for_a_refresh() {
    let cluster = due_everywhere().await;
    let loads = cluster.loads();
    refreshed(&cluster).await;
    assert_eq!(cluster.loads(), loads);
}

#[tokio::test]
async fn one_refresher_loads_for_all_replicas() {
    let cluster = due_everywhere().await;
    let loads = cluster.loads();
    // By this time to live, what is in Redis is near its end.
    keep_items(&cluster, |item| item.l2_ttl = MINUTE * 30);
    refreshed(&cluster).await;
    assert_eq!(cluster.loads(), loads + 1);
}
