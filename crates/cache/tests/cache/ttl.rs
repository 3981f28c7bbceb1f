//! Times to live, by the injected clock.

use std::time::Duration;

use larder_cache::{CacheConfig, Key, Moment, Policy, ReadError, ReadOptions};

use crate::support::{Bench, config, list};

const MINUTE: Duration = Duration::from_mins(1);

/// With a bound so long that freshness is no question here.
fn unhurried() -> CacheConfig {
    CacheConfig { staleness_bound: MINUTE * 60, ..config() }
}

#[tokio::test]
async fn a_copy_is_served_until_its_deadline_and_not_at_it() {
    let bench = Bench::with(unhurried()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.clock.advance(MINUTE * 9);
    bench.clock.advance(Duration::new(59, 999_999_999));
    assert!(bench.cache.get("item:a").is_some());
    bench.clock.advance(Duration::from_nanos(1));
    assert!(bench.cache.get("item:a").is_none());
    bench.read("item:a").await.unwrap();
    assert_eq!((bench.loads(), bench.stats().expired), (2, 1));
}

#[tokio::test]
async fn a_hit_does_not_lengthen_a_life() {
    let bench = Bench::with(unhurried()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    for _ in 0..9 {
        bench.clock.advance(MINUTE);
        assert!(bench.cache.get("item:a").is_some());
    }
    bench.clock.advance(MINUTE);
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn each_policy_has_a_time_of_its_own() {
    let bench = Bench::with(unhurried()).await;
    let now = bench.clock.now();
    let policies = bench.cache.policies();
    bench.db.put("item:a", &[]);
    let life = |deadline: Moment| deadline.since(now);
    assert_eq!(life(bench.read("item:a").await.unwrap().entry.deadline), policies.item.ttl);
    assert_eq!(life(bench.read("item:none").await.unwrap().entry.deadline), policies.not_found.ttl);
    let found = bench.read_with(list("category:x"), ReadOptions::default()).await.unwrap();
    assert_eq!(life(found.entry.deadline), policies.list.ttl);
    let db = std::sync::Arc::clone(&bench.db);
    let load = move |_| {
        let db = std::sync::Arc::clone(&db);
        async move { db.load(vec!["any".to_owned()]).await }
    };
    let search = bench.cache.get_or_load(Key::list("search:q", "any"), Policy::Search, ReadOptions::default(), load);
    assert_eq!(life(search.await.unwrap().entry.deadline), policies.search.ttl);
}

#[tokio::test]
async fn jitter_spreads_deadlines_and_never_lengthens_a_life() {
    let mut config = unhurried();
    for policy in config.policies.each_mut() {
        policy.jitter = 0.1;
    }
    let bench = Bench::with(config).await;
    let now = bench.clock.now();
    let mut lives = Vec::new();
    for n in 0..200 {
        let name = format!("item:{n}");
        bench.db.put(&name, &[]);
        lives.push(bench.read(&name).await.unwrap().entry.deadline.since(now));
    }
    assert!(lives.iter().all(|&life| life <= MINUTE * 10 && life >= MINUTE * 9));
    assert!(lives.iter().min() < lives.iter().max());
}

#[tokio::test]
async fn the_life_of_a_copy_counts_from_the_beginning_of_its_load() {
    let bench = Bench::with(unhurried()).await;
    bench.db.put("item:a", &[]);
    bench.db.hold(crate::support::At::Loaded);
    let read = async {
        bench.db.reached(crate::support::At::Loaded, 1).await;
        bench.clock.advance(MINUTE);
        bench.db.release(crate::support::At::Loaded);
    };
    let began = bench.clock.now();
    let (found, ()) = tokio::join!(bench.read("item:a"), read);
    let entry = found.unwrap().entry;
    assert_eq!((entry.began, entry.deadline), (began, began.plus(MINUTE * 10)));
}

#[tokio::test]
async fn extreme_times_do_no_harm() {
    let mut config = CacheConfig { max_stale: Duration::MAX, staleness_bound: Duration::MAX, ..config() };
    config.policies.item.ttl = Duration::MAX;
    config.policies.not_found.ttl = Duration::ZERO;
    config.load_timeout = Duration::MAX;
    let bench = Bench::with(config).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.clock.advance(Duration::from_secs(1 << 33));
    assert!(bench.cache.get("item:a").is_some());
    bench.read("item:none").await.unwrap();
    bench.read("item:none").await.unwrap();
    assert_eq!(bench.loads(), 3, "a time to live of zero keeps nothing");
}

#[tokio::test]
async fn purge_removes_what_is_past_its_time_and_nothing_else() {
    let bench = Bench::with(unhurried()).await;
    for name in ["item:a", "item:b"] {
        bench.db.put(name, &[]);
        bench.read(name).await.unwrap();
        bench.clock.advance(MINUTE * 6);
    }
    bench.read("item:none").await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.stats().entries, 3);
    assert_eq!(bench.cache.purge_expired(), 1);
    assert_eq!((bench.stats().entries, bench.stats().expired), (2, 1));
    bench.clock.advance(MINUTE);
    assert_eq!(bench.cache.purge_expired(), 1, "the absent key");
    assert_eq!(bench.cache.purge_expired(), 0);
    assert!(bench.cache.get("item:b").is_some());
}

#[tokio::test]
async fn copies_only_means_no_load() {
    let bench = Bench::with(unhurried()).await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    let copies = ReadOptions { cache_only: true, ..ReadOptions::default() };
    let read = bench.read_with(Key::item("item:a"), copies).await;
    assert_eq!(read.err(), Some(ReadError::NotCached));
    bench.read("item:a").await.unwrap();
    assert!(!bench.read_with(Key::item("item:a"), copies).await.unwrap().stale);
    bench.clock.advance(MINUTE * 11);
    bench.pass().await;
    assert!(bench.read_with(Key::item("item:a"), copies).await.unwrap().stale, "past its time, and marked so");
    bench.learn(crate::support::entry("item:a", &[]));
    assert_eq!(bench.read_with(Key::item("item:a"), copies).await.err(), Some(ReadError::NotCached));
    assert_eq!(bench.loads(), 1);
}
