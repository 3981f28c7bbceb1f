//! Copies that a key closes, in one real Redis into which others write too.

use larder_cache::{Clock, FrameKey, Freshness, SharedConfig, Tier};
use larder_test_servers::{Redis, RedisOptions};

use crate::{
    shared::{Cluster, shared},
    support::entry,
};

fn with_keys(shared: &SharedConfig, keys: &[u8]) -> SharedConfig {
    let frame_keys = keys.iter().map(|&byte| FrameKey::new(vec![byte; 32]).unwrap()).collect();
    SharedConfig { frame_keys, ..shared.clone() }
}

/// Replicas with these keys each.
async fn replicas(redis: &Redis, keys: &[&[u8]]) -> Cluster {
    let shared = shared(redis.url());
    Cluster::with(keys.iter().map(|keys| with_keys(&shared, keys)).collect(), Clock::manual(), |db| db).await
}

/// The key in Redis of an item's copy.
async fn key_of(redis: &Redis, item: &str) -> String {
    let keys = redis.cli(&["KEYS", &format!("*{item}")]).await;
    let mut keys = keys.lines().filter(|key| !key.contains(":lease:"));
    let key = keys.next().expect("a copy").to_owned();
    assert_eq!(keys.next(), None, "one copy");
    key
}

#[tokio::test]
async fn a_copy_under_another_key_is_refused_and_counted() {
    let redis = Redis::start(RedisOptions::default()).await;
    let cluster = replicas(&redis, &[&[1], &[1]]).await;
    let mut commits = Vec::new();
    for item in ["item:a", "item:b"] {
        commits.push(cluster.write(0, entry(item, &[]), true).await.1);
    }
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(cluster.item(1, "item:a").await, (Tier::L2, Some(commits[0])), "a genuine copy is used");
    let (from, to) = (key_of(&redis, "item:a").await, key_of(&redis, "item:b").await);
    assert_eq!(redis.cli(&["COPY", &from, &to, "REPLACE"]).await.trim(), "1");
    assert_eq!(cluster.item(1, "item:b").await, (Tier::Database, Some(commits[1])));
    assert!(cluster.replicas[1].stats().l2_unsigned > 0);
}

/// Whoever can write to Redis can compute a checksum: a replica without keys stands for them.
#[tokio::test]
async fn a_copy_that_nobody_with_a_key_closed_is_refused_and_counted() {
    let redis = Redis::start(RedisOptions::default()).await;
    let cluster = replicas(&redis, &[&[], &[1], &[2]]).await;
    for (writer, reader) in [(0, 1), (2, 1), (0, 2)] {
        let item = format!("item:{writer}-{reader}");
        let (_, commit) = cluster.write(writer, entry(&item, &[]), true).await;
        let cache = &cluster.replicas[reader];
        cache.reach(Freshness::FullyConsistent).await.unwrap();
        let before = cache.stats().l2_unsigned;
        assert_eq!(cluster.item(reader, &item).await, (Tier::Database, Some(commit)), "{item}");
        assert!(cache.stats().l2_unsigned > before, "{item}");
    }
}

/// While keys are introduced, replicas without them load for themselves, and stay as coherent.
#[tokio::test]
async fn a_replica_without_keys_does_not_use_closed_copies() {
    let redis = Redis::start(RedisOptions::default()).await;
    let cluster = replicas(&redis, &[&[], &[1]]).await;
    for _ in 0..3 {
        let (_, commit) = cluster.write(1, entry("item:a", &[]), true).await;
        cluster.replicas[0].reach(Freshness::FullyConsistent).await.unwrap();
        assert_eq!(cluster.item(0, "item:a").await, (Tier::Database, Some(commit)));
    }
    let stats = cluster.replicas[0].stats();
    assert!(stats.l2_unknown >= 3 && stats.l2_unsigned == 0 && stats.l2_damaged == 0);
}

/// One step of a replacement at a time, neighbours use each other's copies.
#[tokio::test]
async fn keys_are_replaced_without_a_miss() {
    let redis = Redis::start(RedisOptions::default()).await;
    let steps: [&[u8]; 4] = [&[1], &[1, 2], &[2, 1], &[2]];
    let cluster = replicas(&redis, &steps).await;
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        for (writer, reader) in [(one, other), (other, one)] {
            let item = format!("item:{writer}-{reader}");
            let (_, commit) = cluster.write(writer, entry(&item, &[]), true).await;
            cluster.replicas[reader].reach(Freshness::FullyConsistent).await.unwrap();
            assert_eq!(cluster.item(reader, &item).await, (Tier::L2, Some(commit)), "{item}");
        }
    }
    assert!(cluster.replicas.iter().all(|cache| cache.stats().l2_unsigned == 0));
    // The last step does not know the key of the first.
    let (_, commit) = cluster.write(0, entry("item:late", &[]), true).await;
    cluster.replicas[3].reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(cluster.item(3, "item:late").await, (Tier::Database, Some(commit)));
    assert!(cluster.replicas[3].stats().l2_unsigned > 0);
}
