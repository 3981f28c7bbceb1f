//! What is dropped, where, and when.

use std::time::Duration;

use larder_proto::catalog::CacheTier;
use tokio::time::Instant;

use super::{Cluster, Kind, in_memory, list, stock, tier, warm};
use crate::harness::{Database, on_both_databases};

on_both_databases!(every_kind_is_dropped_on_every_replica_over_the_bus, every_kind_is_dropped_without_redis);

/// The default for the staleness bound, by which everybody has learned of an invalidation whatever is broken.
const BOUND: Duration = Duration::from_secs(1);

async fn every_kind_is_dropped_on_every_replica_over_the_bus(database: &Database) {
    let mut cluster = Cluster::sharing(database).await;
    stock(&cluster.replicas[0]).await;
    for kind in Kind::EVERY {
        warm_all(&cluster).await;
        let told = kind.invalidate(&mut cluster.admins[0], false).await;
        assert_eq!((told.confirmed, told.silent.len()), (3, 0), "{kind:?}");
        // Everybody has confirmed it: no copy of before is served by anybody, from memory or from Redis.
        for (number, replica) in cluster.replicas.iter().enumerate() {
            assert!(!in_memory(replica, "touched").await, "{kind:?} on replica {number}");
            assert_eq!(in_memory(replica, "other").await, kind.leaves_other(), "{kind:?} on replica {number}");
        }
        assert_eq!(tier(&cluster.replicas[2], "touched").await, CacheTier::Database, "{kind:?}: none in Redis");
    }
    cluster.stop().await;
}

async fn every_kind_is_dropped_without_redis(database: &Database) {
    let mut cluster = Cluster::apart(database).await;
    stock(&cluster.replicas[0]).await;
    for kind in Kind::EVERY {
        warm_all(&cluster).await;
        let told = kind.invalidate(&mut cluster.admins[0], false).await;
        assert_eq!((told.confirmed, told.silent.len()), (1, 0), "{kind:?}: nobody can be asked");
        dropped_in_time(&cluster, kind).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn while_redis_is_away_the_change_log_tells_everybody() {
    let database = Database::postgres().await;
    let mut cluster = Cluster::sharing(&database).await;
    stock(&cluster.replicas[0]).await;
    cluster.redis.as_ref().expect("a Redis").kill();
    for kind in Kind::EVERY {
        warm_all(&cluster).await;
        let told = kind.invalidate_within(Duration::from_millis(100), &mut cluster.admins[0], false).await;
        assert!(told.confirmed >= 1 && !told.token.is_empty(), "{kind:?}: it is committed all the same");
        dropped_in_time(&cluster, kind).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_term_drops_lists_and_leaves_other_products() {
    let database = Database::sqlite();
    let cluster = Cluster::apart(&database).await;
    stock(&cluster.replicas[0]).await;
    let replica = &cluster.replicas[0];
    let mut admin = cluster.admins[0].clone();
    for kind in [Kind::Categories, Kind::Tags] {
        // What the replica finds in the log of what was done before would drop a copy that it has by then.
        replica.settle().await;
        warm(replica, "other").await;
        list(replica, "pans").await;
        assert_eq!(list(replica, "pans").await, CacheTier::L1);
        kind.invalidate(&mut admin, false).await;
        assert!(in_memory(replica, "other").await, "{kind:?}");
        let tier = list(replica, "pans").await;
        assert_eq!(tier, CacheTier::Database, "{kind:?}: a list does not know the terms of its products");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_dry_run_tells_and_drops_nothing() {
    let database = Database::sqlite();
    let mut cluster = Cluster::apart(&database).await;
    stock(&cluster.replicas[0]).await;
    warm_all(&cluster).await;
    for (kind, count) in Kind::EVERY.into_iter().zip([1, 1, 1, 1, 2]) {
        let told = kind.invalidate(&mut cluster.admins[0], true).await;
        assert_eq!((told.count, told.confirmed, told.token.as_str()), (count, 0, ""), "{kind:?}");
        assert!(told.sample.contains(&"product:touched".to_owned()), "{kind:?}: {:?}", told.sample);
        assert!(in_memory(&cluster.replicas[0], "touched").await, "{kind:?}");
    }
    cluster.stop().await;
}

async fn warm_all(cluster: &Cluster) {
    for replica in &cluster.replicas {
        // What it learns of what was done before would drop a copy that it has by then.
        replica.settle().await;
        warm(replica, "touched").await;
        warm(replica, "other").await;
    }
}

/// No replica serves a copy of before, once the bound has passed since the reply.
async fn dropped_in_time(cluster: &Cluster, kind: Kind) {
    let told = Instant::now();
    assert!(!in_memory(&cluster.replicas[0], "touched").await, "{kind:?}: it is dropped here before the reply");
    for (number, replica) in cluster.replicas.iter().enumerate() {
        loop {
            let began = told.elapsed();
            if !in_memory(replica, "touched").await {
                break;
            }
            assert!(began <= BOUND, "{kind:?}: replica {number} serves it when asked {began:?} later");
        }
        if kind.leaves_other() {
            assert!(in_memory(replica, "other").await, "{kind:?} on replica {number}");
        }
    }
}
