//! Copies that outlive a restart of the database server, and those that must not.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use larder_cache::{
    Cache, Cause, Change, ChangeLog, Changes, Clock, Freshness, Incarnation, Key, Lineage, Loaded, LogBatch, Policy,
    ReadOptions, Recall, Snapshot, Subject, Witness,
};
use tokio::{runtime::Handle, task::JoinHandle, time::sleep};

use crate::support::{Item, config};

/// A log of which every pass fails but those that a test puts in.
#[derive(Default)]
struct Script(Mutex<VecDeque<LogBatch>>);

impl ChangeLog for Script {
    async fn pass(&self, _: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<LogBatch, String> {
        self.0.lock().unwrap().pop_front().ok_or_else(|| "it says nothing".to_owned())
    }

    async fn recall(&self, _: &[Witness]) -> Result<Recall, String> {
        Err("it says nothing".to_owned())
    }

    async fn changed(&self, at_most: Duration) {
        sleep(at_most).await;
    }
}

/// One life of the server after another.
const BEFORE: Incarnation = Incarnation(1);
const AFTER: Incarnation = Incarnation(2);

fn pass(incarnation: Incarnation, next: u64, changes: Changes) -> LogBatch {
    let snapshot = Snapshot { xmin: next, xmax: next, in_progress: Vec::new(), salt: None };
    LogBatch { snapshot, incarnation, lineage: Some(Lineage(7)), changes }
}

fn put(id: u64, salt: u64, key: &str) -> Change {
    Change {
        id,
        salt,
        subject: Subject::Entry { key: key.to_owned(), version: 1, terms: Vec::new() },
        cause: Cause::default(),
    }
}

fn window(from: u64, changes: Vec<Change>) -> Changes {
    Changes::Window { from, changes }
}

struct Bench {
    cache: Cache<Item>,
    log: Arc<Script>,
    follower: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Bench {
    /// A replica whose last batch was the changes 10 and 11, and which has loaded "item:old" before its last pass.
    async fn new() -> Self {
        let log = Arc::new(Script::default());
        let cache: Cache<Item> = Cache::new(config(), Clock::manual(), Handle::current(), 1);
        let follower = tokio::spawn(cache.clone().follow(Arc::clone(&log)));
        let bench = Self { cache, log, follower };
        bench.pass(pass(BEFORE, 10, window(0, Vec::new()))).await;
        bench.pass(pass(BEFORE, 12, Changes::Complete(last_batch()))).await;
        bench.load("item:old").await;
        bench.pass(pass(BEFORE, 12, Changes::Complete(Vec::new()))).await;
        bench
    }

    /// Lets one pass find this.
    async fn pass(&self, found: LogBatch) {
        self.log.0.lock().unwrap().push_back(found);
        self.cache.reach(Freshness::FullyConsistent).await.unwrap();
        assert!(self.log.0.lock().unwrap().is_empty());
    }

    async fn load(&self, key: &'static str) {
        let load =
            |_| async { Ok(Loaded { values: vec![None], incarnation: Some(BEFORE), horizon: 12, witness: None }) };
        self.cache.get_or_load(Key::item(key), Policy::Item, ReadOptions::default(), load).await.unwrap();
        assert!(self.has(key));
    }

    fn has(&self, key: &str) -> bool {
        self.cache.get(key).is_some()
    }
}

fn last_batch() -> Vec<Change> {
    vec![put(10, 100, "item:x"), put(11, 110, "item:y")]
}

#[tokio::test]
async fn copies_outlive_a_restart_that_lost_nothing() {
    let bench = Bench::new().await;
    bench.pass(pass(AFTER, 12, window(0, last_batch()))).await;
    assert!(bench.has("item:old"));
    // A second restart without a write in between: the last batch is the same.
    bench.pass(pass(Incarnation(3), 12, window(0, last_batch()))).await;
    assert!(bench.has("item:old"));
}

#[tokio::test]
async fn what_landed_since_the_last_pass_does_not() {
    let bench = Bench::new().await;
    bench.load("item:late").await;
    bench.pass(pass(AFTER, 12, window(0, last_batch()))).await;
    assert!(bench.has("item:old"));
    assert!(!bench.has("item:late"));
}

#[tokio::test]
async fn what_changed_across_the_restart_is_dropped() {
    let bench = Bench::new().await;
    let changes = [last_batch(), vec![put(12, 120, "item:old")]].concat();
    bench.pass(pass(AFTER, 13, window(0, changes))).await;
    assert!(!bench.has("item:old"));
}

#[tokio::test]
async fn an_id_above_the_last_batch_may_have_been_assigned_twice() {
    let bench = Bench::new().await;
    // Ids up to 19 were assigned to transactions that changed nothing, and a cold copy does not know of them.
    bench.pass(pass(BEFORE, 20, Changes::Complete(Vec::new()))).await;
    let changes = [last_batch(), vec![put(15, 150, "item:old")]].concat();
    bench.pass(pass(AFTER, 16, window(0, changes))).await;
    assert!(!bench.has("item:old"));
}

#[tokio::test]
async fn copies_are_dropped_where_the_last_batch_is_not_whole() {
    let other_salt = vec![put(10, 100, "item:x"), put(11, 111, "item:y")];
    let broken = [
        pass(AFTER, 12, window(0, vec![put(11, 110, "item:y")])),
        pass(AFTER, 12, window(0, other_salt)),
        pass(AFTER, 12, window(11, last_batch())),
        LogBatch { lineage: Some(Lineage(8)), ..pass(AFTER, 12, window(0, last_batch())) },
        LogBatch { lineage: None, ..pass(AFTER, 12, window(0, last_batch())) },
    ];
    for found in broken {
        let bench = Bench::new().await;
        bench.pass(found.clone()).await;
        assert!(!bench.has("item:old"), "{found:?}");
    }
}

#[tokio::test]
async fn copies_are_dropped_where_changes_may_have_been_missed_since_the_last_batch() {
    let bench = Bench::new().await;
    bench.pass(pass(BEFORE, 12, window(0, last_batch()))).await;
    bench.load("item:old").await;
    bench.pass(pass(BEFORE, 12, Changes::Complete(Vec::new()))).await;
    bench.pass(pass(AFTER, 12, window(0, last_batch()))).await;
    assert!(!bench.has("item:old"));
}

#[tokio::test]
async fn rules_that_were_applied_before_the_restart_touch_nothing_again() {
    let bench = Bench::new().await;
    let all = Change { id: 12, salt: 120, subject: Subject::All, cause: Cause::default() };
    bench.pass(pass(BEFORE, 13, Changes::Complete(vec![all.clone()]))).await;
    assert!(!bench.has("item:old"));
    bench.load("item:old").await;
    bench.pass(pass(BEFORE, 13, Changes::Complete(Vec::new()))).await;
    bench.pass(pass(AFTER, 13, window(0, [last_batch(), vec![all]].concat()))).await;
    assert!(bench.has("item:old"));
}
