//! Races that the other files do not come to, each played step by step.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use larder_cache::{
    Cache, CacheConfig, Change, Clock, Commit, Facts, Freshness, Incarnation, Key, Loaded, Policy, ReadOptions, Tier,
    Value,
};
use larder_test_servers::Redis;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    shared::{Cluster, shared},
    support::{Database, Item, committed, config, entry, seq, until},
};

type Meanwhile = Box<dyn FnOnce() + Send>;

/// What happens while a copy that came from Redis is decoded: after it was judged and before it is stored.
static MEANWHILE: Mutex<Option<Meanwhile>> = Mutex::new(None);

/// An item that lets something happen while it is decoded.
struct Slow(Item);

impl Value for Slow {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn has(&self, term: &str) -> bool {
        self.0.has(term)
    }

    fn facts(&self) -> Facts {
        self.0.facts()
    }

    fn encode(&self) -> Bytes {
        self.0.encode()
    }

    fn decode(bytes: Bytes, list: bool) -> Option<Self> {
        let meanwhile = MEANWHILE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Item::decode(bytes, list).map(Self)
    }
}

/// A replica whose database and time are moved by hand.
struct Replica<V: Value> {
    db: Arc<Database>,
    cache: Cache<V>,
    clock: Clock,
    tasks: [JoinHandle<()>; 2],
}

impl<V: Value> Replica<V> {
    async fn start(config: CacheConfig) -> Self {
        let redis = Redis::shared().await;
        let clock = Clock::manual();
        let db = Arc::new(Database::new(clock.clone()));
        let config = CacheConfig { shared: Some(shared(redis.url())), ..config };
        let cache = Cache::sharing(config, clock.clone(), Handle::current(), 1).unwrap();
        let tasks = [tokio::spawn(cache.clone().share()), tokio::spawn(cache.clone().follow(Arc::clone(&db)))];
        until(|| cache.age_of_last_pass().is_some() && cache.shared_tier_up() == Some(true)).await;
        Self { db, cache, clock, tasks }
    }

    /// Commits a change of an item, of which nobody is told.
    fn commit(&self) -> (Change, u64) {
        let (id, subject) = (self.db.begin(), entry("item:a", &[]));
        let commit = self.db.commit(id, subject.clone(), true);
        (committed(id, &subject, commit), commit)
    }

    /// Commits one through the replica, which leaves its frame in Redis and nothing in L1.
    async fn write(&self, make: impl Fn(Item) -> V) -> u64 {
        let (change, commit) = self.commit();
        let items = vec![("item:a".into(), make(Item { seq: commit, terms: Vec::new(), bytes: 100 }))];
        let (incarnation, horizon) = (Incarnation(1), change.id);
        self.cache.wrote(Commit { incarnation, horizon, witness: None, changes: vec![change], items }).await;
        commit
    }

    async fn read(&self, make: fn(Item) -> V, seq: fn(&V) -> u64) -> (Tier, Option<u64>) {
        let db = Arc::clone(&self.db);
        let load = move |_| {
            let db = Arc::clone(&db);
            async move {
                let Loaded { values, incarnation, horizon, witness } = db.load(vec!["item:a".to_owned()]).await?;
                let values = values.into_iter().map(|item| item.map(make)).collect();
                Ok(Loaded { values, incarnation, horizon, witness })
            }
        };
        let read = self.cache.get_or_load(Key::item("item:a"), Policy::Item, ReadOptions::default(), load);
        let found = read.await.unwrap();
        (found.tier, found.entry.value.as_ref().map(seq))
    }
}

impl<V: Value> Drop for Replica<V> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What was captured before Redis was asked keeps out what a change overtook on its way into L1.
#[tokio::test]
async fn a_copy_from_redis_that_is_overtaken_is_not_kept() {
    let replica = Replica::start(config()).await;
    let first = replica.write(Slow).await;
    // Nobody learns of it any sooner.
    replica.db.fail_passes.store(true, Ordering::SeqCst);
    let (change, second) = replica.commit();
    let learner = replica.cache.clone();
    let learn: Meanwhile = Box::new(move || assert!(learner.apply(&change, Incarnation(1))));
    *MEANWHILE.lock().unwrap() = Some(learn);
    let read = async || replica.read(Slow, |item| item.0.seq).await;
    assert_eq!(read().await, (Tier::L2, Some(first)), "who waited already gets what was read");
    assert!(MEANWHILE.lock().unwrap().is_none(), "nothing was learned meanwhile");
    assert!(replica.cache.get("item:a").is_none());
    assert_eq!(read().await, (Tier::Database, Some(second)));
}

/// A look that finds more than it can take in knows of none of it one by one: what Redis was given before cannot be judged.
#[tokio::test]
async fn what_a_flood_swept_away_does_not_come_back_from_redis() {
    let replica: Replica<Item> = Replica::start(CacheConfig { max_changes_per_pass: 3, ..config() }).await;
    let read = async || replica.read(|item| item, |item| item.seq).await;
    let first = replica.write(|item| item).await;
    assert_eq!(read().await, (Tier::L2, Some(first)));
    let commits = [(); 5].map(|()| replica.commit().1);
    replica.cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(read().await, (Tier::Database, commits.last().copied()));
}

/// What Redis returns is as old as the proof by which it was judged, however short a time ago it came.
#[tokio::test]
async fn a_copy_from_redis_is_not_fresh_by_its_own_age() {
    let replica: Replica<Item> = Replica::start(config()).await;
    let first = replica.write(|item| item).await;
    replica.cache.reach(Freshness::FullyConsistent).await.unwrap();
    replica.db.fail_passes.store(true, Ordering::SeqCst);
    replica.db.notify();
    until(|| replica.cache.stats().failed_passes > 0).await;
    let most_of_the_bound = replica.cache.config().staleness_bound * 3 / 4;
    replica.clock.advance(most_of_the_bound);
    assert_eq!(replica.read(|item| item, |item| item.seq).await, (Tier::L2, Some(first)));
    assert!(replica.cache.get("item:a").is_some());
    replica.clock.advance(most_of_the_bound);
    assert!(replica.cache.get("item:a").is_none(), "the proof is older than the bound");
}

/// A writer that is slow to tell of its commit, and has learned meanwhile what was committed after it.
#[tokio::test]
async fn a_write_that_is_late_hides_no_newer_one() {
    let cluster = Cluster::new(2).await;
    let subject = entry("item:a", &["category:x"]);
    let (late, newer) = (cluster.db.begin(), cluster.db.begin());
    let first = cluster.db.commit(late, subject.clone(), true);
    let second = cluster.db.commit(newer, subject.clone(), true);
    cluster.replicas[0].apply(&committed(newer, &subject, second), Incarnation(1));
    cluster.wrote(0, late, &subject, true, first).await;
    assert!(cluster.replicas[0].get("item:a").is_none(), "a writer keeps nothing of its own");
    assert_eq!(cluster.item(0, "item:a").await.1, Some(second));
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(cluster.item(1, "item:a").await.1, Some(second), "nor does Redis hide it");
}

/// Redis and a replica on one side, the database and its writers on the other: without a look at the change log nobody can
/// say of what Redis returns whether it is still right.
#[tokio::test]
async fn a_replica_cut_off_from_the_database_takes_nothing_from_redis() {
    let cluster = Cluster::new(2).await;
    cluster.write(0, entry("item:a", &[]), true).await;
    cluster.write(0, entry("item:b", &[]), true).await;
    // It has learned of both by now, and not only when it has a copy already.
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    let (tier, kept) = cluster.item(1, "item:b").await;
    assert_eq!(tier, Tier::L2, "Redis has them");
    for failing in [&cluster.db.fail_passes, &cluster.db.fail_loads] {
        failing.store(true, Ordering::SeqCst);
    }
    let cut_off = &cluster.replicas[1];
    until(|| cut_off.stats().failed_passes > 0).await;
    cluster.clock.advance(cut_off.config().staleness_bound + Duration::from_nanos(1));
    cluster.db.put("item:a", &[]);
    cluster.db.put("item:b", &[]);
    let hits = cut_off.stats().l2_hits;
    assert!(cluster.read(1, Key::item("item:a")).await.is_err(), "Redis has what was written before");
    let found = cluster.read(1, Key::item("item:b")).await.unwrap();
    assert_eq!((found.stale, seq(&found)), (true, kept), "a copy that was right is served marked stale");
    assert_eq!(cut_off.stats().l2_hits, hits);

    for failing in [&cluster.db.fail_passes, &cluster.db.fail_loads] {
        failing.store(false, Ordering::SeqCst);
    }
    cut_off.reach(Freshness::FullyConsistent).await.unwrap();
    for item in ["item:a", "item:b"] {
        assert_eq!(cluster.item(1, item).await.1, Some(cluster.db.committed(item)), "{item}");
    }
}

/// A machine whose clocks say that it has slept: only the clock that counts sleep may decide. Linux lets a process have such
/// clocks of its own, unless it is not allowed to.
#[cfg(target_os = "linux")]
#[test]
fn sleep_counts_and_the_clock_on_the_wall_does_not() {
    const ASKED: &str = "LARDER_TEST_TELL_TIME";
    const SLEPT: Duration = Duration::from_hours(100);
    let now = || Clock::system().now().since(larder_cache::Moment::NEVER);
    if std::env::var_os(ASKED).is_some() {
        return println!("it is {}", now().as_secs());
    }
    let before = now();
    let after_sleep = |rights: &[&str]| {
        let output = std::process::Command::new("unshare")
            .args(rights)
            .args(["--time", "--boottime", &SLEPT.as_secs().to_string()])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "races::sleep_counts_and_the_clock_on_the_wall_does_not", "--nocapture"])
            .env(ASKED, "1")
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).unwrap();
        let told = text.lines().find_map(|line| line.split_once("it is ")).expect("the time");
        Some(Duration::from_secs(told.1.parse().unwrap()))
    };
    let Some(told) = after_sleep(&[]).or_else(|| after_sleep(&["--map-root-user"])) else {
        return println!("not played: no process may have clocks of its own here");
    };
    // Told in whole seconds.
    let passed = told.saturating_sub(before) + Duration::from_secs(1);
    assert!(passed >= SLEPT && passed < SLEPT + Duration::from_mins(10), "{passed:?}");
}
