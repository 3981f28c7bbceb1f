//! Redis Cluster, and Redis watched by Sentinels: real processes, of which some are killed, demoted, or given other slots.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use larder_cache::{Freshness, Key, Policy, ReadOptions, SharedConfig, Tier};
use larder_test_servers::{RedisCluster, RedisSentinel};

use crate::{
    shared::{Cluster, ITEMS, play, shared},
    support::{At, entry, until},
};

/// A busy machine may need long for six servers.
fn patient(url: String) -> SharedConfig {
    SharedConfig { connect_timeout: Duration::from_secs(5), ..shared(url) }
}

/// The key of an item in Redis.
fn in_redis(config: &SharedConfig, item: &str) -> String {
    format!("{}:{:016x}:{item}", config.prefix, 1)
}

/// Writes through one replica and reads through the other, until the copy comes from Redis.
async fn until_shared(cluster: &Cluster, item: &str) {
    // Each turn waits, so that this is a minute at least.
    for _ in 0..3_000 {
        let (token, commit) = cluster.write(0, entry(item, &[]), true).await;
        cluster.replicas[1].reach(Freshness::AtLeast(token)).await.unwrap();
        let (tier, shown) = cluster.item(1, item).await;
        assert_eq!(shown, Some(commit), "{item} from {tier:?}");
        if tier == Tier::L2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{item} never comes from Redis");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_is_one_tier() {
    const ITEMS: usize = 60;
    let redis = RedisCluster::start(3).await;
    let cluster = Arc::new(Cluster::of(2, &patient(redis.url()), |db| db).await);
    let names: Vec<String> = (0..ITEMS).map(|number| format!("item:{number}")).collect();
    for name in &names {
        cluster.write(0, entry(name, &[]), true).await;
    }
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    assert!(cluster.replicas[1].stats().bus_messages > 0, "the bus of a cluster brings changes");

    // One at a time, and many at once, which lie on all nodes.
    assert_eq!(cluster.item(1, &names[0]).await.0, Tier::L2);
    let keys = names[1..].iter().map(|name| Key::item(name.as_str())).collect();
    let options = ReadOptions::default();
    let load = |_| async { panic!("all of them are in Redis") };
    let found = cluster.replicas[1].get_or_load_many(keys, Policy::Item, options, load).await.unwrap();
    assert!(found.iter().flatten().all(|found| found.tier == Tier::L2), "{found:?}");
    assert_eq!((found.iter().flatten().count(), cluster.loads()), (ITEMS - 1, 0));

    // Readers on both replicas cost one load, by the lease.
    cluster.db.put_in_silence("item:cold");
    cluster.db.hold(At::Load);
    let readers: Vec<_> = (0..40)
        .map(|number| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { cluster.item(number % 2, "item:cold").await.1 })
        })
        .collect();
    cluster.db.reached(At::Load, 1).await;
    for replica in &cluster.replicas {
        until(|| replica.stats().leases_won + replica.stats().leases_lost >= 1).await;
    }
    cluster.db.release(At::Load);
    join_all(readers).await.into_iter().for_each(|read| assert!(read.unwrap().is_some()));
    assert_eq!(cluster.loads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_change_nothing() {
    let redis = Arc::new(RedisCluster::start(3).await);
    let config = patient(redis.url());
    let cluster = Arc::new(Cluster::of(3, &config, |db| db).await);
    let (over, moves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let shuffle = tokio::spawn({
        let (redis, over, moves) = (Arc::clone(&redis), Arc::clone(&over), Arc::clone(&moves));
        async move {
            while !over.load(Ordering::Relaxed) {
                for item in ITEMS {
                    let key = in_redis(&config, item);
                    let to = (redis.owner(&key).await + 1) % 3;
                    redis.move_slot(&key, to).await;
                    moves.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let mut seed = 0;
    while moves.load(Ordering::Relaxed) < 12 {
        play(&cluster, seed).await;
        assert!(!shuffle.is_finished(), "a slot could not be moved");
        seed += 1;
    }
    over.store(true, Ordering::Relaxed);
    shuffle.await.unwrap();
    for item in ITEMS {
        until_shared(&cluster, item).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_replaced() {
    let redis = RedisCluster::start(3).await;
    let config = patient(redis.url());
    let cluster = Arc::new(Cluster::of(3, &config, |db| db).await);
    play(&cluster, 1).await;
    let owner = redis.owner(&in_redis(&config, ITEMS[0])).await;
    redis.masters()[owner].kill();
    // Nothing is wrong and no read fails meanwhile.
    play(&cluster, 2).await;
    redis.wait_replaced(owner).await;
    play(&cluster, 3).await;
    for item in ITEMS {
        until_shared(&cluster, item).await;
    }
    for replica in &cluster.replicas {
        until(|| replica.bus_connected() == Some(true)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_that_sentinels_name_is_followed() {
    let redis = RedisSentinel::start().await;
    let cluster = Arc::new(Cluster::of(3, &patient(redis.url()), |db| db).await);
    until_shared(&cluster, ITEMS[0]).await;

    // Demoted, but alive: connections to it stay open.
    redis.fail_over().await;
    play(&cluster, 1).await;
    redis.wait_master(1).await;
    until_shared(&cluster, ITEMS[0]).await;
    let keys = redis.servers()[1].cli(&["DBSIZE"]).await;
    assert_ne!(keys, "0", "the copies are in the new master");

    // Dead.
    redis.servers()[1].kill();
    play(&cluster, 2).await;
    redis.wait_master(0).await;
    until_shared(&cluster, ITEMS[0]).await;
    for replica in &cluster.replicas {
        until(|| replica.bus_connected() == Some(true)).await;
    }
}
