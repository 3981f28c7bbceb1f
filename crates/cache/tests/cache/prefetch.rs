//! What is loaded before anybody asks for it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use larder_cache::{CacheConfig, ReadOptions};

use crate::support::{At, Bench, config, list};

const HOT: &str = "item:hot";

/// Room for a hundred, one of which has been read often, and enough spent by readers for some to be loaded ahead.
async fn with_a_hot_one(prefetch: f64) -> Bench {
    let bench = Bench::with(CacheConfig { l1_entries: 100, l1_bytes: 100_000, prefetch, ..config() }).await;
    bench.db.size(10);
    bench.db.put(HOT, &[]);
    for number in 0..300 {
        bench.db.put(&item(number), &[]);
    }
    bench.pass().await;
    for _ in 0..10 {
        bench.read(HOT).await.unwrap();
    }
    bench
}

fn item(number: usize) -> String {
    format!("item:{number:04}")
}

/// Drives everything else out.
async fn flood(bench: &Bench) {
    for number in 0..300 {
        bench.read(&item(number)).await.unwrap();
    }
    bench.stats();
}

/// What is worth it, if anything is.
fn worth(bench: &Bench) -> Vec<Arc<str>> {
    bench.cache.worth_prefetching().now_or_never().unwrap_or_default()
}

async fn load(bench: &Bench, names: &[Arc<str>]) {
    let (db, known) = (Arc::clone(&bench.db), names.to_vec());
    let load = move |numbers: Vec<usize>| {
        let (db, names) = (Arc::clone(&db), numbers.into_iter().map(|number| known[number].to_string()).collect());
        async move { db.load(names).await }
    };
    bench.cache.prefetch(names, load).await;
}

#[tokio::test]
async fn what_was_read_often_and_evicted_comes_back() {
    let bench = with_a_hot_one(0.1).await;
    flood(&bench).await;
    assert!(bench.cache.get(HOT).is_none());
    let names = worth(&bench);
    assert_eq!(names, [Arc::from(HOT)], "the others were read once");
    let loads = bench.loads();
    load(&bench, &names).await;
    assert!(bench.cache.get(HOT).is_some());
    let stats = bench.stats();
    assert_eq!((bench.loads(), stats.prefetched, stats.prefetch_hits), (loads + 1, 1, 1));
    assert_eq!(stats.misses, 301, "those of readers alone");
}

#[tokio::test]
async fn what_was_read_often_and_changed_comes_back_as_it_is_now() {
    let bench = with_a_hot_one(0.1).await;
    for number in 0..20 {
        bench.read(&item(number)).await.unwrap();
    }
    bench.db.put(HOT, &[]);
    bench.pass().await;
    assert!(bench.cache.get(HOT).is_none());
    let names = worth(&bench);
    assert_eq!(names, [Arc::from(HOT)]);
    load(&bench, &names).await;
    let loads = bench.loads();
    assert_eq!((bench.seq(HOT).await, bench.loads()), (Some(302), loads));
}

/// It is a load like any other.
#[tokio::test]
async fn what_changes_while_it_is_loaded_ahead_is_not_stored() {
    let bench = with_a_hot_one(0.1).await;
    flood(&bench).await;
    let names = worth(&bench);
    let arrived = bench.db.arrived(At::Loaded);
    bench.db.hold(At::Loaded);
    let loading = load(&bench, &names);
    let changing = async {
        bench.db.reached(At::Loaded, arrived + 1).await;
        bench.db.put(HOT, &[]);
        bench.pass().await;
        bench.db.release(At::Loaded);
    };
    tokio::join!(loading, changing);
    assert!(bench.cache.get(HOT).is_none());
    assert_eq!(bench.seq(HOT).await, Some(302));
}

#[tokio::test]
async fn readers_join_what_is_loaded_ahead() {
    let bench = with_a_hot_one(0.1).await;
    flood(&bench).await;
    let names = worth(&bench);
    let loads = bench.loads();
    let arrived = bench.db.arrived(At::Load);
    bench.db.hold(At::Load);
    let reading = async {
        bench.db.reached(At::Load, arrived + 1).await;
        let reader = bench.read(HOT);
        let joined = async {
            crate::support::until(|| bench.stats().joins == 1).await;
            bench.db.release(At::Load);
        };
        tokio::join!(reader, joined).0
    };
    let ((), read) = tokio::join!(load(&bench, &names), reading);
    assert!(read.unwrap().entry.value.is_some());
    assert_eq!(bench.loads(), loads + 1);
}

#[tokio::test]
async fn nothing_is_loaded_ahead_while_the_database_is_away() {
    let bench = with_a_hot_one(0.1).await;
    flood(&bench).await;
    let names = worth(&bench);
    bench.lose_the_log().await;
    let loads = bench.loads();
    load(&bench, &names).await;
    assert_eq!((bench.loads(), bench.stats().prefetched), (loads, 0));
    assert!(worth(&bench).is_empty(), "it is not tried again and again");
}

#[tokio::test]
async fn without_a_share_nothing_is_loaded_ahead() {
    let bench = with_a_hot_one(0.0).await;
    flood(&bench).await;
    assert!(worth(&bench).is_empty());
}

#[tokio::test]
async fn lists_are_left_alone() {
    let bench = with_a_hot_one(1.0).await;
    for _ in 0..10 {
        bench.read_with(list("x"), ReadOptions::default()).await.unwrap();
    }
    flood(&bench).await;
    assert_eq!(worth(&bench), [Arc::from(HOT)]);
}
