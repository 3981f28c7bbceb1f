//! Copies of the fact that something does not exist.

use std::time::Duration;

use larder_cache::{CacheConfig, Key, Subject, Tier};

use crate::support::{At, Bench, config, entry, seq};

#[tokio::test]
async fn absence_is_remembered_for_its_own_short_time() {
    let bench = Bench::with(CacheConfig { staleness_bound: Duration::from_hours(1), ..config() }).await;
    assert_eq!(bench.seq("item:a").await, None);
    let found = bench.read("item:a").await.unwrap();
    assert!(found.entry.value.is_none() && found.tier == Tier::L1);
    assert_eq!((bench.loads(), bench.stats().not_found_hits), (1, 1));
    bench.clock.advance(Duration::from_secs(10));
    assert!(bench.cache.get("item:a").is_none());
    assert_eq!(bench.seq("item:a").await, None);
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn a_creation_is_visible_once_it_is_learned() {
    let bench = Bench::new().await;
    assert_eq!(bench.seq("item:a").await, None);
    bench.db.put("item:a", &[]);
    bench.learn(entry("item:a", &[]));
    assert!(bench.cache.get("item:a").is_none());
    assert_eq!(bench.seq("item:a").await, Some(1));
    assert_eq!(bench.seq("item:a").await, Some(1));
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn a_deletion_is_visible_once_it_is_learned() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    assert_eq!(bench.seq("item:a").await, Some(1));
    bench.db.write(entry("item:a", &[]), false);
    bench.learn(entry("item:a", &[]));
    assert_eq!((bench.seq("item:a").await, bench.seq("item:a").await), (None, None));
    assert_eq!(bench.stats().entries, 1, "the older copy is gone");
}

#[tokio::test]
async fn a_late_load_of_absence_does_not_hide_a_creation() {
    let bench = Bench::new().await;
    bench.db.hold(At::Loaded);
    let create = async {
        bench.db.reached(At::Loaded, 1).await;
        bench.db.put("item:a", &[]);
        bench.learn(entry("item:a", &[]));
        bench.db.release(At::Loaded);
    };
    let (absent, ()) = tokio::join!(bench.read("item:a"), create);
    assert_eq!(seq(&absent.unwrap()), None, "it began to wait before");
    assert_eq!(bench.seq("item:a").await, Some(1));
    assert_eq!(bench.stats().not_stored, 1);
}

#[tokio::test]
async fn one_key_has_one_copy_whichever_kind_came_first() {
    let bench = Bench::with(CacheConfig { staleness_bound: Duration::from_hours(1), ..config() }).await;
    assert_eq!(bench.seq("item:a").await, None);
    bench.clock.advance(Duration::from_secs(10));
    bench.db.put("item:a", &[]);
    assert_eq!(bench.seq("item:a").await, Some(1), "unlearned, but the absence is past its time");
    assert_eq!(bench.stats().entries, 1);
    bench.clock.advance(Duration::from_mins(10));
    bench.db.write(entry("item:a", &[]), false);
    assert_eq!(bench.seq("item:a").await, None);
    assert_eq!(bench.stats().entries, 1);
}

#[tokio::test]
async fn a_flood_of_absent_keys_evicts_nothing_that_exists() {
    let bench = Bench::with(CacheConfig { l1_entries: 100, not_found_entries: 50, ..config() }).await;
    for n in 0..100 {
        bench.db.put(&format!("item:{n}"), &[]);
    }
    bench.pass().await;
    for n in 0..100 {
        bench.read(&format!("item:{n}")).await.unwrap();
    }
    for batch in 0..50 {
        let keys = (0..100).map(|n| Key::item(format!("item:none:{batch}:{n}"))).collect();
        bench.read_many(keys).await.unwrap();
    }
    assert_eq!(bench.stats().entries, 150);
    assert!((0..100).all(|n| bench.cache.get(&format!("item:{n}")).is_some()));
}

/// What exists by now may have any term, and the copy cannot tell.
#[tokio::test]
async fn every_rule_drops_an_absence() {
    let bench = Bench::new().await;
    for subject in [Subject::Term("tag:t".into()), Subject::All] {
        bench.read("item:a").await.unwrap();
        assert!(bench.cache.get("item:a").is_some());
        bench.learn(subject);
        assert!(bench.cache.get("item:a").is_none());
    }
}
