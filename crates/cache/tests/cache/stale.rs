//! What may be served while the database is away.

use std::{sync::atomic::Ordering, time::Duration};

use larder_cache::{CacheConfig, Key, LoadError, ReadError, ReadOptions, Subject, Tier};

use crate::support::{At, Bench, config, entry, seq, until};

const BOUND: Duration = Duration::from_secs(1);

async fn away_with(config: CacheConfig) -> Bench {
    let bench = Bench::with(config).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.db.fail_loads.store(true, Ordering::SeqCst);
    bench.lose_the_log().await;
    bench
}

#[tokio::test]
async fn without_proof_a_copy_is_served_marked_stale() {
    let bench = away_with(config()).await;
    assert!(bench.cache.get("item:a").is_none(), "the fast path does not serve stale copies");
    let found = bench.read("item:a").await.unwrap();
    assert_eq!((found.stale, found.tier, seq(&found)), (true, Tier::L1, Some(1)));
    assert_eq!((bench.loads(), bench.stats().stale), (1, 1));
}

#[tokio::test]
async fn past_its_deadline_too() {
    let mut config = config();
    config.policies.item.ttl = BOUND;
    let bench = away_with(config).await;
    bench.clock.advance(BOUND * 60);
    assert!(bench.read("item:a").await.unwrap().stale);
}

#[tokio::test]
async fn within_the_bound_nothing_is_stale() {
    let bench = Bench::with(config()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.db.fail_passes.store(true, Ordering::SeqCst);
    bench.db.notify();
    until(|| bench.stats().failed_passes > 0).await;
    bench.clock.advance(BOUND);
    assert!(!bench.read("item:a").await.unwrap().stale);
    assert!(bench.cache.get("item:a").is_some());
    bench.clock.advance(Duration::from_nanos(1));
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn not_longer_than_the_limit() {
    let bench = away_with(config()).await;
    bench.clock.advance(Duration::from_secs(5 * 60 - 2));
    assert!(bench.read("item:a").await.unwrap().stale, "at the limit");
    bench.clock.advance(Duration::from_nanos(1));
    let away = Some(ReadError::Load(LoadError::Unavailable("away".into())));
    assert_eq!(bench.read("item:a").await.err(), away, "after it");
}

#[tokio::test]
async fn a_reader_may_lower_the_limit_and_not_raise_it() {
    let bench = away_with(config()).await;
    let read = |limit: Duration| {
        bench.read_with(Key::item("item:a"), ReadOptions { max_stale: Some(limit), cache_only: false })
    };
    assert!(read(BOUND * 2).await.is_ok());
    assert!(read(BOUND).await.is_err());
    assert!(read(Duration::ZERO).await.is_err());
    bench.clock.advance(Duration::from_mins(5));
    assert!(read(Duration::from_hours(1)).await.is_err());
}

#[tokio::test]
async fn a_limit_of_zero_means_errors() {
    let bench = away_with(CacheConfig { max_stale: Duration::ZERO, ..config() }).await;
    assert!(bench.read("item:a").await.is_err());
}

#[tokio::test]
async fn what_was_invalidated_is_never_served() {
    for subject in [entry("item:a", &[]), Subject::Key("item:a".into()), Subject::Term("tag:t".into()), Subject::All] {
        let bench = Bench::with(config()).await;
        bench.db.have("item:a", &["tag:t"]);
        bench.db.put("item:a", &[]);
        bench.read("item:a").await.unwrap();
        bench.db.fail_loads.store(true, Ordering::SeqCst);
        bench.lose_the_log().await;
        assert!(bench.read("item:a").await.unwrap().stale);
        bench.learn(subject.clone());
        assert!(bench.read("item:a").await.is_err(), "{subject:?}");
        let copies = ReadOptions { cache_only: true, ..ReadOptions::default() };
        assert!(bench.read_with(Key::item("item:a"), copies).await.is_err(), "{subject:?}");
    }
}

#[tokio::test]
async fn what_is_invalidated_while_its_load_fails_is_not_served_either() {
    let bench = Bench::with(config()).await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.clock.advance(Duration::from_mins(10));
    bench.pass().await;
    bench.db.hold(At::Load);
    bench.db.fail_loads.store(true, Ordering::SeqCst);
    let learn = async {
        bench.db.reached(At::Load, 2).await;
        bench.learn(entry("item:a", &[]));
        bench.db.release(At::Load);
    };
    let (read, ()) = tokio::join!(bench.read("item:a"), learn);
    assert!(read.is_err());
}

#[tokio::test]
async fn an_expired_copy_stands_in_for_a_load_that_fails() {
    let bench = Bench::with(config()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.clock.advance(Duration::from_mins(10));
    bench.pass().await;
    assert!(!bench.read("item:a").await.unwrap().stale, "while loads succeed, it is loaded");
    bench.clock.advance(Duration::from_mins(10));
    bench.pass().await;
    bench.db.fail_loads.store(true, Ordering::SeqCst);
    assert!(bench.read("item:a").await.unwrap().stale);
    let refused = ReadOptions { max_stale: Some(Duration::ZERO), cache_only: false };
    assert!(bench.read_with(Key::item("item:a"), refused).await.is_err());
}

#[tokio::test]
async fn a_load_of_an_unproven_moment_is_fresh_and_lasts_for_the_bound() {
    let bench = Bench::with(config()).await;
    bench.lose_the_log().await;
    bench.db.put("item:a", &[]);
    assert!(!bench.read("item:a").await.unwrap().stale);
    bench.clock.advance(BOUND);
    assert!(bench.cache.get("item:a").is_some());
    bench.clock.advance(Duration::from_nanos(1));
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn a_pass_proves_unproven_copies_again_without_a_load() {
    let bench = Bench::with(config()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.db.put("item:b", &[]);
    bench.read("item:b").await.unwrap();
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.read("item:b").await.unwrap();
    let loads = bench.loads();
    bench.clock.advance(BOUND * 2);
    assert!(!bench.read("item:a").await.unwrap().stale);
    assert!(bench.cache.get("item:b").is_some());
    assert_eq!(bench.loads(), loads);
}

#[tokio::test]
async fn a_pass_that_hangs_does_not_hold_up_readers() {
    let bench = Bench::with(config()).await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.db.hold(At::Load);
    bench.db.hold(At::Pass);
    let passes = bench.db.arrived(At::Pass);
    bench.db.notify();
    bench.db.reached(At::Pass, passes + 1).await;
    bench.clock.advance(BOUND * 2);
    assert!(bench.read("item:a").await.unwrap().stale, "long before pass or load time out");
}
