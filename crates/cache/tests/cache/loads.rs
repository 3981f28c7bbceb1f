//! Loads: one for many readers, and what happens when they fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use larder_cache::{CacheConfig, Incarnation, Key, LoadError, Loaded, Policy, ReadError, ReadOptions, Tier};

use tokio::{
    sync::Barrier,
    time::{Instant, sleep},
};

use crate::support::{At, Bench, config, entry, seq, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_readers_of_one_cold_key_cost_one_load() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.db.hold(At::Load);
    let readers = (0..1_000).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { seq(&bench.read("item:a").await.unwrap()) })
    });
    let readers: Vec<_> = readers.collect();
    until(|| bench.stats().joins == 999).await;
    bench.db.release(At::Load);
    assert!(join_all(readers).await.into_iter().all(|seq| seq.unwrap() == Some(1)));
    assert_eq!((bench.loads(), bench.stats().misses), (1, 1_000));
}

/// A reader who looked before a load stored what it brought, and asks to join after it ended, must look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_come_as_a_load_ends_cost_no_second_one() {
    const ROUNDS: u64 = 5_000;
    const READERS: usize = 4;
    let bench = Arc::new(Bench::new().await);
    let (start, loads) = (Arc::new(Barrier::new(READERS)), Arc::new(AtomicU64::new(0)));
    let readers = (0..READERS).map(|_| {
        let (bench, start, loads) = (Arc::clone(&bench), Arc::clone(&start), Arc::clone(&loads));
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                start.wait().await;
                let loads = Arc::clone(&loads);
                let load = move |_| {
                    loads.fetch_add(1, Ordering::SeqCst);
                    async {
                        Ok(Loaded { values: vec![None], incarnation: Some(Incarnation(1)), horizon: 0, witness: None })
                    }
                };
                let key = Key::item(format!("item:{round}"));
                bench.cache.get_or_load(key, Policy::Item, ReadOptions::default(), load).await.unwrap();
            }
        })
    });
    join_all(readers.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
    assert_eq!(loads.load(Ordering::SeqCst), ROUNDS);
}

#[tokio::test]
async fn a_load_outlives_the_caller_that_began_it() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.db.hold(At::Load);
    let read = |bench: &Arc<Bench>| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move { bench.read("item:a").await })
    };
    let first = read(&bench);
    bench.db.reached(At::Load, 1).await;
    let second = read(&bench);
    until(|| bench.stats().joins == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bench.db.release(At::Load);
    assert_eq!(second.await.unwrap().unwrap().tier, Tier::Database);
    assert_eq!(bench.read("item:a").await.unwrap().tier, Tier::L1);
    assert_eq!(bench.loads(), 1);
}

#[tokio::test]
async fn a_load_that_everybody_left_still_fills_the_cache() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.db.hold(At::Load);
    let reader = Arc::clone(&bench);
    let reader = tokio::spawn(async move { reader.read("item:a").await });
    bench.db.reached(At::Load, 1).await;
    reader.abort();
    bench.db.release(At::Load);
    until(|| bench.cache.get("item:a").is_some()).await;
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_is_given_up() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.db.hold(At::Load);
    let read = |bench: &Arc<Bench>| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move { bench.read("item:a").await })
    };
    let first = read(&bench);
    bench.db.reached(At::Load, 1).await;
    first.abort();
    until(|| bench.stats().abandoned == 1).await;
    let second = read(&bench);
    bench.db.reached(At::Load, 2).await;
    bench.db.release(At::Load);
    assert_eq!(second.await.unwrap().unwrap().tier, Tier::Database);
    assert_eq!((bench.loads(), bench.stats().abandoned), (2, 1));
}

/// As the call of a reader that is refused when it first waits. There is a free turn, so that the load could begin.
#[tokio::test]
async fn a_load_whose_reader_left_at_once_never_begins() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    for left in 1..=100 {
        assert!(bench.read("item:a").now_or_never().is_none(), "a reader that waits");
        until(|| bench.stats().abandoned == left).await;
    }
    assert_eq!(bench.loads(), 0);
    bench.read("item:a").await.unwrap();
    assert_eq!((bench.loads(), bench.stats().abandoned), (1, 100));
}

#[tokio::test]
async fn a_load_whose_readers_left_before_it_began_never_begins() {
    let bench = Arc::new(Bench::with(CacheConfig { max_loads: 1, ..config() }).await);
    for key in ["item:a", "item:b"] {
        bench.db.put(key, &[]);
    }
    bench.pass().await;
    bench.db.hold(At::Load);
    let read = |key: &'static str| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.read(key).await })
    };
    let running = read("item:a");
    bench.db.reached(At::Load, 1).await;
    let waiting = read("item:b");
    until(|| bench.stats().misses == 2).await;
    waiting.abort();
    until(|| bench.stats().abandoned == 1).await;
    bench.db.release(At::Load);
    running.await.unwrap().unwrap();
    assert_eq!((bench.loads(), bench.db.arrived(At::Load)), (1, 1));
}

#[tokio::test]
async fn a_load_that_panics_is_an_error_and_the_next_read_loads_again() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.db.panic_loads.store(true, Ordering::SeqCst);
    let lost = || Some(ReadError::Load(LoadError::Lost));
    let (one, two) = tokio::join!(bench.read("item:a"), bench.read("item:a"));
    assert_eq!((one.err(), two.err()), (lost(), lost()));
    assert_eq!((bench.loads(), bench.stats().load_errors), (1, 1));
    bench.db.panic_loads.store(false, Ordering::SeqCst);
    assert_eq!(bench.seq("item:a").await, Some(1));
}

#[tokio::test]
async fn errors_are_shared_and_not_cached() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.db.fail_loads.store(true, Ordering::SeqCst);
    let (one, two) = tokio::join!(bench.read("item:a"), bench.read("item:a"));
    assert_eq!(one.err(), two.err());
    assert_eq!(bench.loads(), 1);
    assert!(bench.read("item:a").await.is_err());
    assert_eq!(bench.loads(), 2);
    bench.db.fail_loads.store(false, Ordering::SeqCst);
    assert_eq!(bench.seq("item:a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_times_out_once_for_wait_and_work() {
    let bench = Bench::with(CacheConfig { max_loads: 1, ..config() }).await;
    bench.db.hold(At::Load);
    let limit = bench.cache.config().load_timeout;
    let second = async {
        sleep(limit / 10).await;
        let started = Instant::now();
        (bench.read("item:b").await, started.elapsed())
    };
    let (first, (second, took)) = tokio::join!(bench.read("item:a"), second);
    assert_eq!(first.err(), Some(ReadError::Load(LoadError::Timeout)));
    assert_eq!(second.err(), Some(ReadError::Load(LoadError::Timeout)), "its turn came when a tenth was left");
    assert!(took < limit + Duration::from_millis(10), "{took:?}");
    bench.db.release(At::Load);
    assert!(bench.read("item:a").await.is_ok(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_is_asked_by_one_load_now_and_then() {
    let bench = Bench::new().await;
    bench.db.hold(At::Load);
    let limit = bench.cache.config().load_timeout;
    assert_eq!(bench.read("item:a").await.err(), Some(ReadError::Load(LoadError::Timeout)));
    bench.clock.advance(limit);
    assert_eq!(bench.read("item:b").await.err(), Some(ReadError::Load(LoadError::Timeout)), "one tries");
    let before = bench.loads();
    for name in ["item:c", "item:d"] {
        let refused = bench.read(name).await;
        assert!(matches!(refused, Err(ReadError::Load(LoadError::Unavailable(_)))), "{:?}", refused.err());
    }
    assert_eq!(bench.loads(), before, "the others fail at once");
    bench.db.release(At::Load);
    bench.clock.advance(limit);
    for name in ["item:c", "item:d", "item:e"] {
        assert!(bench.read(name).await.is_ok(), "the first answer is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_load_goes_on_behind_a_stale_copy() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    // Past its time to live the copy may be served stale alone.
    bench.clock.advance(bench.cache.config().policies.item.ttl);
    bench.pass().await;
    let before = bench.loads();
    bench.db.hold(At::Load);
    let found = bench.read("item:a").await.unwrap();
    assert!(found.stale);
    bench.db.release(At::Load);
    until(|| bench.stats().sets > 1).await;
    assert_eq!(bench.loads() - before, 1);
    assert!(!bench.read("item:a").await.unwrap().stale);
}

#[tokio::test]
async fn more_loads_than_may_wait_are_refused_and_no_place_is_lost() {
    let bench = Bench::with(CacheConfig { max_loads: 2, max_waiting_loads: 3, ..config() }).await;
    bench.db.hold(At::Load);
    for round in 1..=3 {
        let names: Vec<String> = (0..10).map(|n| format!("item:{round}:{n}")).collect();
        let reads = join_all(names.iter().map(|name| bench.read(name)));
        let release = async {
            until(|| bench.stats().refused == 5 * round).await;
            bench.db.release(At::Load);
        };
        let (reads, ()) = tokio::join!(reads, release);
        let refused = reads.iter().filter(|read| matches!(read, Err(ReadError::Load(LoadError::Overloaded))));
        assert_eq!(refused.count(), 5, "two run and three wait");
        assert_eq!(reads.iter().filter(|read| read.is_ok()).count(), 5);
        bench.db.hold(At::Load);
    }
}

#[tokio::test]
async fn a_batch_loads_together_what_is_missing_and_joins_the_rest() {
    let bench = Bench::new().await;
    for name in ["item:a", "item:b", "item:c"] {
        bench.db.put(name, &[]);
    }
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.db.hold(At::Load);
    let arrived = bench.db.arrived(At::Load);
    let batch = async {
        bench.db.reached(At::Load, arrived + 1).await;
        let keys = ["item:a", "item:b", "item:none", "item:c"].map(Key::item).into();
        bench.read_many(keys).await.unwrap()
    };
    let release = async {
        bench.db.reached(At::Load, arrived + 2).await;
        bench.db.release(At::Load);
    };
    let (_, found, ()) = tokio::join!(bench.read("item:b"), batch, release);
    let found: Vec<_> = found.into_iter().map(Option::unwrap).collect();
    let tiers: Vec<_> = found.iter().map(|found| found.tier).collect();
    assert_eq!(tiers, [Tier::L1, Tier::Database, Tier::Database, Tier::Database]);
    assert_eq!(found.iter().map(seq).collect::<Vec<_>>(), [Some(1), Some(2), None, Some(3)]);
    assert_eq!((bench.loads(), bench.stats().joins), (3, 1));
}

#[tokio::test]
async fn a_load_with_too_few_values_loses_the_rest() {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    let db = Arc::clone(&bench.db);
    let load = move |_| {
        let db = Arc::clone(&db);
        async move { db.load(vec!["item:a".to_owned()]).await }
    };
    let keys = vec![Key::item("item:a"), Key::item("item:b")];
    let read = bench.cache.get_or_load_many(keys, Policy::Item, ReadOptions::default(), load).await;
    assert_eq!(read.err(), Some(ReadError::Load(LoadError::Lost)));
    assert_eq!(bench.seq("item:a").await, Some(1));
}

#[tokio::test]
async fn nobody_joins_a_load_begun_before_the_bound_without_proof() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.lose_the_log().await;
    bench.db.hold(At::Loaded);
    let reader = Arc::clone(&bench);
    let old = tokio::spawn(async move { seq(&reader.read("item:a").await.unwrap()) });
    bench.db.reached(At::Loaded, 1).await;
    bench.db.put("item:a", &[]);
    bench.clock.advance(Duration::from_secs(1) + Duration::from_nanos(1));
    let reader = Arc::clone(&bench);
    let new = tokio::spawn(async move { seq(&reader.read("item:a").await.unwrap()) });
    bench.db.reached(At::Loaded, 2).await;
    bench.db.release(At::Loaded);
    assert_eq!((old.await.unwrap(), new.await.unwrap()), (Some(1), Some(2)));
}

#[tokio::test]
async fn who_learned_of_a_change_joins_no_load_begun_before_it() {
    let bench = Arc::new(Bench::new().await);
    bench.db.put("item:a", &[]);
    bench.db.hold(At::Loaded);
    let reader = Arc::clone(&bench);
    let old = tokio::spawn(async move { seq(&reader.read("item:a").await.unwrap()) });
    bench.db.reached(At::Loaded, 1).await;
    bench.db.put("item:a", &[]);
    bench.learn(entry("item:a", &[]));
    let reader = Arc::clone(&bench);
    let new = tokio::spawn(async move { seq(&reader.read("item:a").await.unwrap()) });
    bench.db.reached(At::Loaded, 2).await;
    bench.db.release(At::Loaded);
    assert_eq!((old.await.unwrap(), new.await.unwrap()), (Some(1), Some(2)));
}
