//! The loop that reads the change log.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use larder_cache::{
    Cache, CacheConfig, ChangeLog, Changes, Clock, Freshness, Incarnation, LogBatch, Recall, Snapshot, Witness,
};
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep},
};

use crate::support::{At, Bench, Item, config, entry, until};

#[tokio::test(start_paused = true)]
async fn four_looks_within_the_bound_without_any_notice() {
    let bench = Bench::new().await;
    let passes = bench.stats().passes;
    sleep(Duration::from_secs(10)).await;
    let passes = bench.stats().passes - passes;
    assert!((38..=41).contains(&passes), "{passes} passes in ten bounds");
}

#[tokio::test(start_paused = true)]
async fn a_notice_brings_a_look_at_once() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.db.put("item:a", &[]);
    let started = Instant::now();
    bench.db.notify();
    until(|| bench.cache.get("item:a").is_none()).await;
    assert!(started.elapsed() <= Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_notices_is_read_in_bulk() {
    let bench = Bench::new().await;
    let passes = bench.stats().passes;
    for _ in 0..1_000 {
        bench.db.notify();
        sleep(Duration::from_millis(1)).await;
    }
    let passes = bench.stats().passes - passes;
    assert!((50..=101).contains(&passes), "{passes} passes in a second");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_recovery_is_noticed() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.lose_the_log().await;
    let failed = bench.stats().failed_passes;
    sleep(Duration::from_secs(10)).await;
    let failed = bench.stats().failed_passes - failed;
    assert!((40..=90).contains(&failed), "{failed} in ten seconds: a quarter of a second at most, half of it at least");
    assert!(bench.read("item:a").await.unwrap().stale);
    bench.db.put("item:a", &[]);
    bench.db.fail_passes.store(false, Ordering::SeqCst);
    let started = Instant::now();
    until(|| bench.cache.age_of_last_pass() == Some(Duration::ZERO)).await;
    assert!(started.elapsed() <= Duration::from_millis(260));
    assert_eq!(bench.seq("item:a").await, Some(2), "what changed meanwhile is learned first");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_times_out_and_proves_nothing() {
    let bench = Bench::new().await;
    let token = bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.db.hold(At::Passed);
    let passes = bench.stats().passes;
    sleep(Duration::from_secs(5)).await;
    bench.clock.advance(Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    let stats = bench.stats();
    assert_eq!(stats.passes, passes);
    assert!((7..=10).contains(&stats.failed_passes), "{} failed", stats.failed_passes);
    assert!(bench.cache.get("item:a").is_none());
    bench.db.release(At::Passed);
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
}

#[tokio::test]
async fn a_proof_dates_from_before_the_look() {
    let bench = Bench::with(CacheConfig { staleness_bound: Duration::from_mins(1), ..config() }).await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    let passes = bench.db.arrived(At::Passed);
    bench.db.hold(At::Passed);
    bench.db.notify();
    bench.db.reached(At::Passed, passes + 1).await;
    bench.db.put("item:a", &[]);
    bench.clock.advance(Duration::from_secs(61));
    let passes = bench.stats().passes;
    bench.db.release(At::Passed);
    until(|| bench.stats().passes > passes).await;
    assert_eq!(bench.cache.age_of_last_pass(), Some(Duration::from_secs(61)));
    assert!(bench.cache.get("item:a").is_none(), "what it read was too old when it counted");
}

#[tokio::test]
async fn a_pass_of_more_than_the_limit_drops_everything() {
    let bench = Bench::with(CacheConfig { max_changes_per_pass: 5, ..config() }).await;
    for name in ["item:a", "item:b"] {
        bench.db.put(name, &[]);
    }
    bench.pass().await;
    bench.seq("item:a").await;
    bench.seq("item:none").await;
    for _ in 0..5 {
        bench.db.put("item:b", &[]);
    }
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_some(), "at the limit");
    for _ in 0..6 {
        bench.db.put("item:b", &[]);
    }
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_none() && bench.cache.get("item:none").is_none());
    bench.seq("item:a").await;
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_some(), "and only once");
}

#[tokio::test]
async fn a_long_pass_is_learned_whole_before_it_counts() {
    let bench = Bench::new().await;
    let names: Vec<_> = (0..2_000).map(|n| format!("item:{n}")).collect();
    for name in &names {
        bench.db.put(name, &[]);
    }
    bench.pass().await;
    for name in &names {
        bench.seq(name).await;
        bench.db.put(name, &[]);
    }
    let token = bench.db.put("item:last", &[]);
    bench.db.notify();
    // Learning takes turns with other tasks: at no moment may the pass count of which a part is not learned.
    while bench.cache.reach(Freshness::AtLeast(token)).now_or_never() != Some(Ok(())) {
        yield_now().await;
    }
    assert!(names.iter().all(|name| bench.cache.get(name).is_none()));
}

#[tokio::test]
async fn nothing_is_kept_before_the_first_pass() {
    let bench = Bench::of(config(), 1, |db| {
        db.hold(At::Pass);
        db
    });
    bench.db.put("item:a", &[]);
    let found = bench.read("item:a").await.unwrap();
    assert!(!found.stale, "but what is loaded is served");
    assert!(bench.cache.get("item:a").is_none());
    assert_eq!((bench.cache.age_of_last_pass(), bench.stats().not_stored), (None, 1));
    bench.db.release(At::Pass);
    bench.cache.first_pass().await.unwrap();
    bench.read("item:a").await.unwrap();
    assert!(bench.cache.get("item:a").is_some());
}

#[tokio::test]
async fn a_load_begun_before_the_first_pass_is_not_kept_after_it() {
    let bench = Bench::of(config(), 1, |db| {
        db.hold(At::Pass);
        db.hold(At::Loaded);
        db
    });
    bench.db.put("item:a", &[]);
    let pass = async {
        bench.db.reached(At::Loaded, 1).await;
        bench.db.release(At::Pass);
        bench.cache.first_pass().await.unwrap();
        bench.db.release(At::Loaded);
    };
    let (found, ()) = tokio::join!(bench.read("item:a"), pass);
    found.unwrap();
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn a_following_that_ends_counts_as_a_log_that_fails() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.read("item:a").await.unwrap();
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.unfollow().await;
    bench.clock.advance(Duration::from_secs(2));
    assert!(bench.read("item:a").await.unwrap().stale, "at once, without waiting for a pass that never comes");
}

/// A log that panics every other time and ignores the time that `changed` is given.
struct Rude(AtomicU64);

impl ChangeLog for Rude {
    async fn pass(&self, _: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<LogBatch, String> {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        assert!(count % 2 == 1, "a pass that panics on purpose");
        let snapshot = Snapshot { xmin: count, xmax: count, in_progress: Vec::new(), salt: None };
        Ok(LogBatch { snapshot, incarnation: Incarnation(1), lineage: None, changes: Changes::Complete(Vec::new()) })
    }

    async fn recall(&self, _: &[Witness]) -> Result<Recall, String> {
        panic!("on purpose, too")
    }

    async fn changed(&self, _: Duration) {
        pending::<()>().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_panics_or_never_returns_does_not_end_the_following() {
    let cache: Cache<Item> = Cache::new(config(), Clock::manual(), Handle::current(), 1);
    let follower = tokio::spawn(cache.clone().follow(Arc::new(Rude(AtomicU64::new(0)))));
    sleep(Duration::from_secs(10)).await;
    let stats = cache.stats();
    assert!(stats.passes >= 35 && stats.failed_passes >= 35, "{} and {}", stats.passes, stats.failed_passes);
    assert!(!follower.is_finished());
    follower.abort();
}

#[tokio::test]
async fn what_the_log_brings_late_and_twice_is_harmless() {
    let bench = Bench::new().await;
    let long = bench.db.begin();
    let rolled_back = bench.db.begin();
    bench.db.put("item:a", &[]);
    bench.pass().await;
    assert_eq!(bench.seq("item:a").await, Some(1));
    bench.db.abort(rolled_back);
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_some());
    bench.db.commit(long, entry("item:a", &[]), true);
    bench.learn(entry("item:a", &[]));
    assert_eq!(bench.seq("item:a").await, Some(2));
    bench.pass().await;
    assert_eq!(bench.seq("item:a").await, Some(2));
}
