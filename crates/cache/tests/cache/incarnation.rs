//! Another database, or another life of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_cache::{
    ANY, Cache, CacheConfig, Cause, Change, ChangeLog, Changes, Clock, Freshness, Incarnation, Key, LoadError, Loaded,
    LogBatch, Policy, ReadError, ReadOptions, Recall, Snapshot, Subject, Tier, Witness,
};
use larder_test_servers::Redis;
use tokio::{runtime::Handle, time::sleep};

use crate::{
    shared::{Cluster, shared},
    support::{At, Bench, Item, config, entry, list, seq, until},
};

async fn bench() -> Arc<Bench> {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    bench.read("item:none").await.unwrap();
    Arc::new(bench)
}

#[tokio::test]
async fn another_incarnation_drops_everything() {
    let bench = bench().await;
    assert!(bench.cache.get("item:a").is_some() && bench.cache.get("item:none").is_some());
    bench.db.next_incarnation();
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_none() && bench.cache.get("item:none").is_none());
    bench.read("item:a").await.unwrap();
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_some(), "and once");
}

#[tokio::test]
async fn so_does_a_log_that_went_back() {
    let bench = bench().await;
    let token = bench.db.put("item:a", &[]);
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    bench.read("item:a").await.unwrap();
    bench.db.go_back();
    bench.pass().await;
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn a_load_of_the_old_one_is_not_kept_under_the_new_one() {
    let bench = bench().await;
    bench.cache.clear();
    bench.db.hold(At::Loaded);
    let loads = bench.db.arrived(At::Loaded);
    let change = async {
        bench.db.reached(At::Loaded, loads + 1).await;
        bench.db.next_incarnation();
        bench.pass().await;
        bench.db.release(At::Loaded);
    };
    let (found, ()) = tokio::join!(bench.read("item:a"), change);
    assert!(found.unwrap().stale, "what it read is another database's");
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn a_load_that_begins_after_it_and_reads_the_old_one_is_not_kept() {
    let bench = bench().await;
    bench.db.next_incarnation();
    bench.pass().await;
    bench.db.loads_say(Some(1));
    assert!(bench.read("item:a").await.unwrap().stale);
    assert!(bench.cache.get("item:a").is_none());
}

#[tokio::test]
async fn a_load_of_the_new_one_before_the_follower_knows_it_is_not_kept() {
    let bench = bench().await;
    bench.db.next_incarnation();
    let found = bench.read("item:b").await.unwrap();
    assert_eq!((found.tier, found.stale), (Tier::Database, true));
    assert!(bench.cache.get("item:b").is_none());
    bench.pass().await;
    bench.read("item:b").await.unwrap();
    assert!(bench.cache.get("item:b").is_some());
}

#[tokio::test]
async fn what_a_standby_returns_is_served_marked_stale_and_not_kept() {
    let bench = bench().await;
    bench.db.loads_say(None);
    bench.cache.clear();
    for _ in 0..2 {
        let found = bench.read("item:a").await.unwrap();
        assert_eq!((found.tier, found.stale, seq(&found)), (Tier::Database, true, Some(1)));
    }
    let refused = ReadOptions { max_stale: Some(Duration::ZERO), cache_only: false };
    let read = bench.read_with(Key::item("item:a"), refused).await;
    assert_eq!(read.err(), Some(ReadError::NoPass));
}

#[tokio::test]
async fn what_a_standby_returns_is_served_no_longer_than_copies_are() {
    let bench = bench().await;
    bench.db.loads_say(None);
    bench.cache.clear();
    bench.lose_the_log().await;
    let limit = bench.cache.config().max_stale;
    assert!(bench.read("item:a").await.unwrap().stale);
    bench.clock.advance(limit);
    assert_eq!(bench.read("item:a").await.err(), Some(ReadError::NoPass));
    bench.db.fail_passes.store(false, Ordering::SeqCst);
    bench.pass().await;
    assert!(bench.read("item:a").await.unwrap().stale, "the database is asked what has changed, and it answers");
}

#[tokio::test]
async fn what_a_standby_returns_is_not_served_where_it_is_known_to_be_overwritten() {
    let bench = bench().await;
    bench.db.loads_say(None);
    bench.cache.clear();
    bench.db.hold(At::Loaded);
    let loads = bench.db.arrived(At::Loaded);
    let (item, absence, page, ()) = tokio::join!(
        bench.read("item:a"),
        bench.read("item:none"),
        bench.read_with(list(ANY), ReadOptions::default()),
        async {
            bench.db.reached(At::Loaded, loads + 3).await;
            for key in ["item:a", "item:none"] {
                bench.db.put(key, &[]);
            }
            bench.pass().await;
            bench.db.release(At::Loaded);
        }
    );
    for read in [item, absence, page] {
        assert!(matches!(read, Err(ReadError::Load(LoadError::Unavailable(_)))), "{:?}", read.map(|found| seq(&found)));
    }
    let found = bench.read("item:a").await.unwrap();
    assert_eq!((found.stale, seq(&found)), (true, Some(2)), "it has caught up");
}

#[tokio::test]
async fn what_a_standby_returns_of_one_snapshot_is_not_served() {
    let bench = bench().await;
    for (of, served) in [(Some(1), true), (None, false)] {
        bench.db.loads_say(of);
        let db = Arc::clone(&bench.db);
        let load = move || {
            let db = Arc::clone(&db);
            async move { db.load(vec!["item:a".to_owned()]).await }
        };
        let found = bench.cache.load_apart(Policy::Item, ReadOptions::default(), load).await;
        let found = found.map(|found| found.iter().map(|found| found.stale).collect::<Vec<_>>());
        assert_eq!(found, if served { Ok(vec![false]) } else { Err(ReadError::NoPass) });
    }
}

/// A log that says nothing of what the incarnation before it held.
struct Silent(AtomicU64);

impl ChangeLog for Silent {
    async fn pass(&self, _: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<LogBatch, String> {
        let incarnation = Incarnation(self.0.load(Ordering::SeqCst));
        Ok(LogBatch {
            snapshot: Snapshot::default(),
            incarnation,
            lineage: None,
            changes: Changes::Complete(Vec::new()),
        })
    }

    async fn recall(&self, _: &[Witness]) -> Result<Recall, String> {
        Err("it says nothing".to_owned())
    }

    async fn changed(&self, at_most: Duration) {
        sleep(at_most).await;
    }
}

#[tokio::test]
async fn another_incarnation_drops_everything_whatever_the_log_says() {
    let log = Arc::new(Silent(AtomicU64::new(1)));
    let cache: Cache<Item> = Cache::new(config(), Clock::manual(), Handle::current(), 1);
    let follower = tokio::spawn(cache.clone().follow(Arc::clone(&log)));
    cache.first_pass().await.unwrap();
    let load =
        |_| async { Ok(Loaded { values: vec![None], incarnation: Some(Incarnation(1)), horizon: 0, witness: None }) };
    cache.get_or_load(Key::item("item:a"), Policy::Item, ReadOptions::default(), load).await.unwrap();
    cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert!(cache.get("item:a").is_some());
    log.0.store(2, Ordering::SeqCst);
    cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert!(cache.get("item:a").is_none());
    follower.abort();
}

#[tokio::test]
async fn two_catalogues_under_one_prefix_are_each_as_if_alone() {
    /// More than is kept of what is heard of another incarnation.
    const FLOOD: u64 = 3_000;
    let shared = shared(Redis::shared().await.url());
    let loud = Cluster::of(1, &shared, |db| db).await;
    // The second of these replicas; the first has the same number as the loud one.
    let quiet = Cluster::of(2, &shared, |db| {
        (0..50).for_each(|_| db.next_incarnation());
        db
    })
    .await;
    let listener = &quiet.replicas[1];
    quiet.write(0, entry("item:a", &[]), true).await;
    listener.reach(Freshness::FullyConsistent).await.unwrap();
    quiet.item(1, "item:a").await;
    let heard = listener.stats().bus_changes;
    for _ in 0..FLOOD {
        loud.write(0, entry("item:a", &[]), true).await;
    }
    loud.write(0, Subject::All, true).await;
    until(|| listener.stats().bus_changes > heard + FLOOD).await;
    assert!(listener.get("item:a").is_some(), "the other one's item of the same name is another");

    // A crash: whatever is stored in Redis after it is good for everybody who has noticed.
    quiet.db.next_incarnation();
    for replica in &quiet.replicas {
        replica.reach(Freshness::FullyConsistent).await.unwrap();
    }
    assert_eq!(quiet.item(0, "item:b").await.0, Tier::Database);
    until(|| quiet.replicas[0].stats().l2_sets >= 2).await;
    assert_eq!(quiet.item(1, "item:b").await.0, Tier::L2);

    assert!(!listener.shares_prefix());
    quiet.clock.advance(Duration::from_mins(1));
    loud.write(0, entry("item:a", &[]), true).await;
    until(|| listener.shares_prefix()).await;
}

/// As a SQLite file that is put back: the incarnation stays, and the numbers begin again.
#[derive(Default)]
struct PutBack {
    salt: AtomicU64,
    newest: AtomicU64,
    /// What the next look tells.
    changes: Mutex<Vec<Change>>,
}

impl ChangeLog for PutBack {
    async fn pass(&self, _: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<LogBatch, String> {
        let (newest, salt) = (self.newest.load(Ordering::SeqCst), self.salt.load(Ordering::SeqCst));
        let snapshot = Snapshot { xmin: newest + 1, xmax: newest + 1, in_progress: Vec::new(), salt: Some(salt) };
        let changes = std::mem::take(&mut *self.changes.lock().unwrap());
        Ok(LogBatch { snapshot, incarnation: Incarnation(1), lineage: None, changes: Changes::Complete(changes) })
    }

    async fn recall(&self, _: &[Witness]) -> Result<Recall, String> {
        Err("it says nothing".to_owned())
    }

    async fn changed(&self, at_most: Duration) {
        sleep(at_most).await;
    }
}

/// A replica of one life stores a copy; one of another life, which has as many changes, does not take it.
#[tokio::test]
async fn a_frame_of_a_lost_life_of_the_same_incarnation_is_not_taken() {
    let shared = shared(Redis::shared().await.url());
    let replica = async |seed: u64, newest: u64, salt: u64| {
        let config = CacheConfig { shared: Some(shared.clone()), ..config() };
        let cache: Cache<Item> = Cache::sharing(config, Clock::manual(), Handle::current(), seed).unwrap();
        let log = Arc::new(PutBack { newest: newest.into(), salt: salt.into(), ..PutBack::default() });
        let tasks = [tokio::spawn(cache.clone().share()), tokio::spawn(cache.clone().follow(Arc::clone(&log)))];
        cache.first_pass().await.unwrap();
        until(|| cache.shared_tier_up() == Some(true)).await;
        (cache, log, tasks)
    };
    let read = async |cache: &Cache<Item>, newest: u64, salt: u64| {
        let load = move |_| async move {
            let witness = Some(Witness { id: newest, salt });
            Ok(Loaded { values: vec![None], incarnation: Some(Incarnation(1)), horizon: newest + 1, witness })
        };
        let found = cache.get_or_load(Key::item("item:a"), Policy::Item, ReadOptions::default(), load).await.unwrap();
        cache.clear();
        found.tier
    };
    let (lost, _, lost_tasks) = replica(1, 10, 111).await;
    assert_eq!(read(&lost, 10, 111).await, Tier::Database);
    until(|| lost.stats().l2_sets == 1).await;
    assert_eq!(read(&lost, 10, 111).await, Tier::L2, "in its own life");
    let (same, _, same_tasks) = replica(2, 10, 111).await;
    assert_eq!(read(&same, 10, 111).await, Tier::L2, "and after a restart");
    let (other, log, other_tasks) = replica(3, 10, 222).await;
    assert_eq!(read(&other, 10, 222).await, Tier::Database, "as many changes, and another one");
    until(|| other.stats().l2_sets == 1).await;
    assert_eq!(read(&same, 10, 111).await, Tier::Database, "nor the other way");
    until(|| same.stats().l2_sets == 1).await;

    // What lies above the last look is looked for first.
    log.salt.store(111, Ordering::SeqCst);
    log.newest.store(9, Ordering::SeqCst);
    other.reach(Freshness::FullyConsistent).await.unwrap();
    log.newest.store(10, Ordering::SeqCst);
    let passes = other.stats().passes;
    assert_eq!(read(&other, 10, 111).await, Tier::L2);
    assert!(other.stats().passes > passes);
    lost_tasks.into_iter().chain(same_tasks).chain(other_tasks).for_each(|task| task.abort());
}

/// A change that was learned, a copy of another life in which it never was, and the first life back again.
#[tokio::test]
async fn a_change_that_was_learned_before_is_learned_again_from_such_a_log() {
    let log = Arc::new(PutBack { newest: 10.into(), salt: 10.into(), ..PutBack::default() });
    let cache: Cache<Item> = Cache::new(config(), Clock::manual(), Handle::current(), 1);
    let follower = tokio::spawn(cache.clone().follow(Arc::clone(&log)));
    cache.first_pass().await.unwrap();
    let subject = Subject::Entry { key: "item:a".to_owned(), version: 11, terms: Vec::new() };
    let change = Change { id: 11, salt: 11, subject, cause: Cause::default() };
    cache.apply(&change, Incarnation(1));
    let load = |_| async {
        let witness = Some(Witness { id: 10, salt: 10 });
        Ok(Loaded { values: vec![None], incarnation: Some(Incarnation(1)), horizon: 11, witness })
    };
    cache.get_or_load(Key::item("item:a"), Policy::Item, ReadOptions::default(), load).await.unwrap();
    assert!(cache.get("item:a").is_some());
    log.changes.lock().unwrap().push(change);
    log.newest.store(11, Ordering::SeqCst);
    log.salt.store(11, Ordering::SeqCst);
    cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert!(cache.get("item:a").is_none());
    follower.abort();
}
