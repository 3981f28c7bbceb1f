//! A change log that does not tell of every change, as where somebody has switched its triggers off.

use std::sync::atomic::Ordering;

use larder_cache::{ANY, Freshness, Tier};

use crate::{
    shared::Cluster,
    support::{At, Bench, entry, seq, until},
};

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.read("item:a").await.unwrap();
    assert!(bench.cache.get("item:a").is_some());
    bench.db.incomplete.store(true, Ordering::SeqCst);
    bench.pass().await;
    bench
}

#[tokio::test]
async fn every_read_is_loaded_and_fresh() {
    let bench = bench().await;
    assert_eq!(bench.cache.incomplete().as_deref(), Some("a trigger is off"));
    for commit in 2..5 {
        bench.db.put("item:a", &[]);
        let found = bench.read("item:a").await.unwrap();
        assert_eq!((found.tier, found.stale, seq(&found)), (Tier::Database, false, Some(commit)));
        assert_eq!(bench.list_seq(ANY).await, Some(commit));
        assert!(bench.cache.get("item:a").is_none(), "nothing is kept");
    }
    assert!(bench.cache.age_of_last_pass().is_some(), "the database is there");
}

#[tokio::test]
async fn a_reader_who_asks_for_more_joins_no_load_that_began_before() {
    let bench = bench().await;
    bench.db.hold(At::Loaded);
    let loads = bench.db.arrived(At::Loaded);
    let (early, (late, token)) = tokio::join!(bench.read("item:a"), async {
        bench.db.reached(At::Loaded, loads + 1).await;
        let token = bench.db.put("item:a", &[]);
        let consistent = async {
            bench.cache.reach(Freshness::FullyConsistent).await.unwrap();
            bench.read("item:a").await.unwrap()
        };
        let with_token = async {
            bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
            bench.read("item:a").await.unwrap()
        };
        let release = async {
            bench.db.reached(At::Loaded, loads + 2).await;
            bench.db.release(At::Loaded);
        };
        let (consistent, with_token, ()) = tokio::join!(consistent, with_token, release);
        assert_eq!((seq(&consistent), seq(&with_token)), (Some(2), Some(2)));
        (bench.read("item:a").await.unwrap(), token)
    });
    assert_eq!((seq(&early.unwrap()), seq(&late)), (Some(1), Some(2)));
    // The look has seen the commit by now; a load that began before the commit must not be joined even so.
    let loads = bench.loads();
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    bench.read("item:a").await.unwrap();
    assert_eq!(bench.loads(), loads + 1);
}

#[tokio::test]
async fn when_it_is_complete_again_nothing_of_before_is_served() {
    let bench = bench().await;
    // Of this one the log has not told.
    bench.db.put("item:a", &[]);
    bench.db.hold(At::Loaded);
    let loads = bench.db.arrived(At::Loaded);
    let (found, ()) = tokio::join!(bench.read("item:a"), async {
        bench.db.reached(At::Loaded, loads + 1).await;
        bench.db.incomplete.store(false, Ordering::SeqCst);
        bench.pass().await;
        bench.db.release(At::Loaded);
    });
    assert_eq!(seq(&found.unwrap()), Some(2));
    assert!(bench.cache.get("item:a").is_none(), "what it read while the log was incomplete is not kept");
    assert_eq!(bench.cache.incomplete(), None);
    bench.read("item:a").await.unwrap();
    assert!(bench.cache.get("item:a").is_some());
}

#[tokio::test]
async fn redis_is_left_alone_and_what_it_had_is_not_taken_afterwards() {
    let mut cluster = Cluster::new(1).await;
    let cache = cluster.replicas[0].clone();
    cluster.write(0, entry("item:a", &[]), true).await;
    cluster.item(0, "item:a").await;
    until(|| cache.stats().l2_sets > 0).await;
    cluster.db.incomplete.store(true, Ordering::SeqCst);
    cache.reach(Freshness::FullyConsistent).await.unwrap();
    let before = cache.stats();
    let silent = cluster.db.put_in_silence("item:a");
    assert_eq!(cluster.item(0, "item:a").await, (Tier::Database, Some(silent)));
    let (_, written) = cluster.write(0, entry("item:b", &[]), true).await;
    assert_eq!(cluster.item(0, "item:b").await, (Tier::Database, Some(written)));
    let after = cache.stats();
    assert_eq!((after.l2_hits, after.l2_misses, after.l2_sets), (before.l2_hits, before.l2_misses, before.l2_sets));

    cluster.db.incomplete.store(false, Ordering::SeqCst);
    cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(cluster.item(0, "item:a").await, (Tier::Database, Some(silent)));
    until(|| cache.stats().l2_sets > after.l2_sets).await;
    cluster.join(cache.config().shared.clone().unwrap());
    cluster.joined(&cluster.replicas[1]).await;
    assert_eq!(cluster.item(1, "item:a").await, (Tier::L2, Some(silent)), "and is in use again");
}
