//! How much fits into L1, what goes when it is full, and whether the counts add up.

use std::time::Duration;

use larder_cache::{CacheConfig, Eviction, Key, ReadOptions, Subject};

use crate::support::{Bench, config, entry, list};

async fn filled(config: CacheConfig, bytes: usize, entries: u64) -> Bench {
    let bench = Bench::with(config).await;
    bench.db.size(bytes);
    for n in 0..entries {
        bench.db.put(&format!("item:{n:04}"), &[]);
    }
    bench.pass().await;
    for n in 0..entries {
        bench.read(&format!("item:{n:04}")).await.unwrap();
    }
    bench
}

fn sized(l1_entries: u64, l1_bytes: u64) -> CacheConfig {
    CacheConfig { l1_entries, l1_bytes, ..config() }
}

#[tokio::test]
async fn small_entries_fit_by_number() {
    let bench = filled(sized(100, 100_000), 10, 300).await;
    let stats = bench.stats();
    assert_eq!((stats.entries, stats.bytes, stats.evicted, stats.sets), (100, 100_000, 200, 300));
    assert!(bench.cache.get("item:0299").is_some() && bench.cache.get("item:0000").is_none());
}

#[tokio::test]
async fn large_entries_fit_by_bytes_of_key_and_value() {
    let bench = filled(sized(100, 100_000), 9_991, 30).await;
    let stats = bench.stats();
    assert_eq!((stats.entries, stats.bytes, stats.evicted), (10, 100_000, 20));
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let bench = filled(sized(100, 100_000), 10, 100).await;
    assert!(bench.cache.get("item:0000").is_some());
    bench.stats();
    bench.db.put("item:new", &[]);
    bench.read("item:new").await.unwrap();
    bench.stats();
    assert!(bench.cache.get("item:0000").is_some() && bench.cache.get("item:0001").is_none());
}

#[tokio::test]
async fn the_other_policy_keeps_to_the_capacity_too() {
    let bench = filled(CacheConfig { eviction: Eviction::TinyLfu, ..sized(100, 100_000) }, 10, 300).await;
    let stats = bench.stats();
    assert_eq!(stats.entries + stats.evicted, 300);
    assert!(stats.entries <= 100);
}

#[tokio::test]
async fn an_entry_larger_than_l1_is_served_and_drives_nothing_out() {
    let bench = filled(sized(100, 100_000), 10, 50).await;
    bench.db.size(100_000);
    bench.db.put("item:0000", &[]);
    bench.pass().await;
    assert_eq!(bench.seq("item:0000").await, Some(51));
    let stats = bench.stats();
    assert_eq!((stats.entries, stats.evicted, stats.not_stored), (49, 0, 1));
}

#[tokio::test]
async fn a_cache_of_no_size_still_answers() {
    let bench = filled(CacheConfig { not_found_entries: 0, ..sized(0, 0) }, 10, 3).await;
    bench.read("item:none").await.unwrap();
    assert_eq!((bench.stats().entries, bench.loads()), (0, 4));
}

#[tokio::test]
async fn what_grows_past_the_capacity_drives_out_others() {
    let bench = filled(sized(100, 100_000), 10, 100).await;
    bench.db.size(50_000);
    bench.db.put("item:0099", &[]);
    bench.pass().await;
    bench.read("item:0099").await.unwrap();
    let stats = bench.stats();
    assert!(stats.bytes <= 100_000, "{} bytes", stats.bytes);
    assert!(bench.cache.get("item:0099").is_some());
}

#[tokio::test]
async fn removals_are_counted_by_cause() {
    let bench = filled(sized(100, 100_000), 10, 3).await;
    assert!(bench.cache.delete("item:0000"));
    assert!(!bench.cache.delete("item:0000"));
    bench.learn(entry("item:0001", &[]));
    let stats = bench.stats();
    assert_eq!((stats.deletes, stats.evicted, stats.entries), (2, 0, 1));
    bench.cache.clear();
    assert_eq!((bench.stats().entries, bench.stats().bytes, bench.stats().evicted), (0, 0, 0));
    assert!(bench.cache.get("item:0002").is_none());
    bench.read("item:0002").await.unwrap();
    assert!(bench.cache.get("item:0002").is_some(), "what is stored after it is cleared stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_what_is_past_every_use_is_freed_unread() {
    let mut config = CacheConfig { max_stale: Duration::ZERO, ..config() };
    config.policies.item.ttl = Duration::from_millis(20);
    (config.policies.list.ttl, config.policies.search.ttl) = (config.policies.item.ttl, config.policies.item.ttl);
    let bench = filled(config, 10, 5).await;
    crate::support::until(|| bench.stats().entries == 0).await;
    assert_eq!(bench.stats().freed, 5);
}

#[tokio::test]
async fn counts_add_up() {
    let bench = filled(sized(100, 100_000), 10, 50).await;
    let mut reads = 50;
    for n in 0..100 {
        bench.read(&format!("item:{n:04}")).await.unwrap();
        reads += 1;
    }
    let keys = (40..60).map(|n| Key::item(format!("item:{n:04}"))).collect();
    bench.read_many(keys).await.unwrap();
    reads += 20;
    let _ = bench.read_with(Key::item("item:none"), ReadOptions { cache_only: true, ..ReadOptions::default() }).await;
    bench.read_with(list("category:x"), ReadOptions::default()).await.unwrap();
    reads += 2;
    bench.learn(entry("item:0001", &["category:x"]));
    bench.learn(Subject::Term("tag:t".into()));
    bench.read_with(list("category:x"), ReadOptions::default()).await.unwrap();
    reads += 1;
    let stats = bench.stats();
    assert_eq!(stats.hits + stats.misses + stats.stale, reads);
    assert_eq!(stats.sets + stats.not_stored, stats.misses - 1, "each miss but that of copies alone was loaded");
    assert_eq!(stats.loads, bench.loads());
    assert_eq!((stats.invalidated, stats.rules), (1, 2), "the list; the tag, and the first pass");
    assert_eq!(stats.entries, stats.sets - stats.deletes - stats.invalidated);
}
