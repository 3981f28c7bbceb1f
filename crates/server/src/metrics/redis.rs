//! What Redis says of itself.

use std::time::Duration;

use larder_cache::Sample;
use larder_proto::admin::RedisStats;
use tokio::{sync::Mutex, time::Instant};

use super::table::{
    REDIS_CLIENTS, REDIS_COMMANDS, REDIS_EVICTED_KEYS, REDIS_EXPIRED_KEYS, REDIS_KEYS, REDIS_KEYSPACE_HITS,
    REDIS_KEYSPACE_MISSES, REDIS_MAX_MEMORY, REDIS_MEMORY,
};
use crate::{catalog::Catalog, grpc::redis_stats};

/// How long an answer counts, so that Redis sees one INFO however many read the metrics.
const KEPT: Duration = Duration::from_secs(5);

/// The last answer of Redis.
#[derive(Debug, Default)]
pub(super) struct RedisFacts(Mutex<Option<(Instant, Option<RedisStats>)>>);

impl RedisFacts {
    /// What Redis says, or said within the last five seconds. Nothing where there is no Redis or Redis is away. The timeout of
    /// commands limits the wait.
    pub(super) async fn samples(&self, catalog: &Catalog) -> Vec<Sample> {
        // Whoever comes while Redis is being asked waits for the same answer.
        let mut kept = self.0.lock().await;
        let facts = match &*kept {
            Some((at, facts)) if at.elapsed() < KEPT => facts.clone(),
            _ => {
                let facts = catalog.cache().shared_tier_info().await.map(|info| redis_stats(&info));
                *kept = Some((Instant::now(), facts.clone()));
                facts
            }
        };
        drop(kept);
        facts.as_ref().map(samples).unwrap_or_default()
    }
}

fn samples(facts: &RedisStats) -> Vec<Sample> {
    vec![
        REDIS_MEMORY.count([], facts.used_memory_bytes),
        REDIS_MAX_MEMORY.count([], facts.max_memory_bytes),
        REDIS_CLIENTS.count([], facts.clients),
        REDIS_KEYS.count([], facts.keys),
        REDIS_COMMANDS.count([], facts.commands),
        REDIS_KEYSPACE_HITS.count([], facts.keyspace_hits),
        REDIS_KEYSPACE_MISSES.count([], facts.keyspace_misses),
        REDIS_EVICTED_KEYS.count([], facts.evicted_keys),
        REDIS_EXPIRED_KEYS.count([], facts.expired_keys),
    ]
}
