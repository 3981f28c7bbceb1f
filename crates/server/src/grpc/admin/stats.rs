//! Counts and sizes in the form of the contract.

use std::time::Duration;

use larder_cache::{Cache, InvalidationCounts, LatencySummary, Stats, SubjectCounts};
use larder_proto::{
    admin::{BusStats, InvalidationStats, Latency, LoadStats, PrefetchStats, RedisStats, ReplicaStats, TierStats},
    catalog::CacheTier,
};

use super::Identity;
use crate::{catalog::Copy, contract::duration};

/// The statistics of a replica, without the facts about Redis.
pub(super) fn of_replica(identity: &Identity, cache: &Cache<Copy>) -> ReplicaStats {
    let stats = cache.stats();
    let (loads, commands) = cache.latencies();
    let mut tiers = vec![l1(&stats, cache.config().l1_bytes)];
    if cache.shared_tier_up().is_some() {
        tiers.push(l2(&stats, commands));
    }
    tiers.push(database(&stats, loads));
    ReplicaStats {
        replica: Some(identity.message(cache.clock().now())),
        tiers,
        loads: Some(LoadStats {
            loads: stats.loads,
            errors: stats.load_errors,
            joined: stats.joins,
            refused: stats.refused,
            leases_won: stats.leases_won,
            leases_lost: stats.leases_lost,
            leases_taken_over: stats.leases_taken,
        }),
        invalidations: Some(invalidations(&stats.invalidations)),
        bus: cache.bus_connected().map(|connected| bus(&stats, connected, cache.bus_lag())),
        redis: None,
        prefetch: Some(PrefetchStats {
            loaded: stats.prefetched,
            used: stats.prefetch_hits,
            unused: stats.prefetched_in_vain,
        }),
    }
}

/// Adds the facts that Redis gives about itself.
pub(super) fn add_redis(stats: &mut ReplicaStats, infos: &[String]) {
    let redis = redis_stats(infos);
    if let Some(l2) = stats.tiers.iter_mut().find(|tier| tier.tier() == CacheTier::L2) {
        l2.entries = redis.keys;
        l2.bytes = redis.used_memory_bytes;
        l2.capacity_bytes = redis.max_memory_bytes;
        l2.evictions = redis.evicted_keys;
        l2.expired = redis.expired_keys;
    }
    stats.redis = Some(redis);
}

fn l1(stats: &Stats, capacity: u64) -> TierStats {
    let requests = stats.hits + stats.misses + stats.stale;
    TierStats {
        tier: CacheTier::L1.into(),
        requests,
        hits: stats.hits,
        not_found_hits: stats.not_found_hits,
        misses: stats.misses,
        stale: stats.stale,
        hit_rate: share(stats.hits, requests),
        sets: stats.sets,
        not_stored: stats.not_stored,
        deletes: stats.deletes,
        invalid: stats.invalidated,
        evictions: stats.evicted,
        expired: stats.expired + stats.freed,
        entries: stats.entries,
        bytes: stats.bytes,
        capacity_bytes: capacity,
        errors: 0,
        latency: None,
    }
}

fn l2(stats: &Stats, commands: LatencySummary) -> TierStats {
    let requests = stats.l2_hits + stats.l2_misses;
    TierStats {
        tier: CacheTier::L2.into(),
        requests,
        hits: stats.l2_hits,
        misses: stats.l2_misses,
        hit_rate: share(stats.l2_hits, requests),
        sets: stats.l2_sets,
        not_stored: stats.l2_dropped,
        invalid: stats.l2_invalid + stats.l2_damaged + stats.l2_unknown + stats.l2_unsigned,
        errors: stats.l2_errors + stats.l2_refused + stats.l2_timeouts,
        latency: Some(latency(commands)),
        ..TierStats::default()
    }
}

/// Every request to the database is a hit, unless it fails.
fn database(stats: &Stats, loads: LatencySummary) -> TierStats {
    let answered = stats.loads.saturating_sub(stats.load_errors);
    TierStats {
        tier: CacheTier::Database.into(),
        requests: stats.loads,
        hits: answered,
        misses: stats.loads - answered,
        hit_rate: share(answered, stats.loads),
        errors: stats.load_errors,
        latency: Some(latency(loads)),
        ..TierStats::default()
    }
}

fn bus(stats: &Stats, connected: bool, lag: Duration) -> BusStats {
    BusStats {
        connected,
        messages: stats.bus_messages,
        changes: stats.bus_changes,
        unknown: stats.bus_unknown,
        overflows: stats.bus_overflows,
        disconnects: stats.bus_losses,
        missed_share: share(stats.log_new, stats.log_new + stats.log_known),
        lag: Some(duration(lag)),
        breaker_opened: stats.l2_breaks,
    }
}

fn invalidations(InvalidationCounts { own, bus, log }: &InvalidationCounts) -> InvalidationStats {
    let of = |kind: fn(&SubjectCounts) -> u64| [own, bus, log].into_iter().map(kind).sum();
    InvalidationStats {
        from_own_writes: own.total(),
        from_bus: bus.total(),
        from_change_log: log.total(),
        products: of(|kinds| kinds.entries),
        keys: of(|kinds| kinds.keys),
        tags: of(|kinds| kinds.tags),
        categories: of(|kinds| kinds.categories),
        patterns: of(|kinds| kinds.patterns),
        all: of(|kinds| kinds.all),
    }
}

fn latency(summary: LatencySummary) -> Latency {
    let LatencySummary { count, mean, p50, p95, p99, .. } = summary;
    Latency {
        count,
        mean: Some(duration(mean)),
        p50: Some(duration(p50)),
        p95: Some(duration(p95)),
        p99: Some(duration(p99)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Reads the replies to INFO, one for each master: lines of `name:value`, and of databases `db0:keys=1,expires=0,...`.
pub(crate) fn redis_stats(infos: &[String]) -> RedisStats {
    let mut sum = RedisStats::default();
    for stats in infos.iter().map(|info| redis_server(info)) {
        sum = RedisStats {
            version: if sum.version.is_empty() { stats.version } else { sum.version },
            used_memory_bytes: sum.used_memory_bytes + stats.used_memory_bytes,
            max_memory_bytes: sum.max_memory_bytes + stats.max_memory_bytes,
            clients: sum.clients + stats.clients,
            commands: sum.commands + stats.commands,
            keyspace_hits: sum.keyspace_hits + stats.keyspace_hits,
            keyspace_misses: sum.keyspace_misses + stats.keyspace_misses,
            evicted_keys: sum.evicted_keys + stats.evicted_keys,
            expired_keys: sum.expired_keys + stats.expired_keys,
            keys: sum.keys + stats.keys,
            // That of the server that started last.
            uptime: [sum.uptime, stats.uptime].into_iter().flatten().min_by_key(|uptime| uptime.seconds),
        };
    }
    sum
}

fn redis_server(info: &str) -> RedisStats {
    let text = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    let number = |name: &str| text(name).parse().unwrap_or(0);
    let databases = info.lines().filter_map(|line| line.strip_prefix("db")?.split_once(":keys=")?.1.split(',').next());
    let version = [text("valkey_version"), text("redis_version")].into_iter().find(|version| !version.is_empty());
    RedisStats {
        version: version.unwrap_or_default().to_owned(),
        used_memory_bytes: number("used_memory"),
        max_memory_bytes: number("maxmemory"),
        clients: number("connected_clients"),
        commands: number("total_commands_processed"),
        keyspace_hits: number("keyspace_hits"),
        keyspace_misses: number("keyspace_misses"),
        evicted_keys: number("evicted_keys"),
        expired_keys: number("expired_keys"),
        keys: databases.filter_map(|keys| keys.parse::<u64>().ok()).sum(),
        uptime: Some(duration(Duration::from_secs(number("uptime_in_seconds")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_read() {
        let info = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:61\r\n\r\n# Memory\r\nused_memory:1000\r\n\
                    used_memory_human:1K\r\nmaxmemory:2000\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndb2:keys=4\r\n";
        let stats = redis_stats(&[info.to_owned()]);
        assert_eq!((stats.version.as_str(), stats.used_memory_bytes, stats.max_memory_bytes), ("7.0.15", 1_000, 2_000));
        assert_eq!((stats.keys, stats.uptime.map(|uptime| uptime.seconds)), (7, Some(61)));
        let two = redis_stats(&[info.to_owned(), info.replace("uptime_in_seconds:61", "uptime_in_seconds:7")]);
        assert_eq!((two.used_memory_bytes, two.keys, two.uptime.map(|uptime| uptime.seconds)), (2_000, 14, Some(7)));
        assert_eq!(
            redis_stats(&[String::new()]),
            RedisStats { uptime: Some(duration(Duration::ZERO)), ..RedisStats::default() }
        );
    }
}
