//! Another database, or another life of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_cache::{
    Cache, ChangeLog, Clock, Freshness, Incarnation, Key, Loaded, News, Pass, Policy, ReadError, ReadOptions, Recall,
    Snapshot, Tier, Witness,
};
use tokio::{runtime::Handle, time::sleep};

use crate::support::{At, Bench, Item, config, seq};

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

/// A log that says nothing of what the incarnation before it held.
struct Silent(AtomicU64);

impl ChangeLog for Silent {
    async fn pass(&self, _: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<Pass, String> {
        let incarnation = Incarnation(self.0.load(Ordering::SeqCst));
        Ok(Pass { snapshot: Snapshot::default(), incarnation, news: News::Complete(Vec::new()) })
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
