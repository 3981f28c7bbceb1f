//! What the shared tier and the bus did, once a minute in the log, until there is an admin service to ask.

use std::time::Duration;

use larder_cache::Stats;
use tokio::time::sleep;

use crate::catalog::Catalog;

const INTERVAL: Duration = Duration::from_mins(1);

/// Logs what happened in each minute; returns at once where nothing is shared.
pub(crate) async fn report(catalog: Catalog) {
    let cache = catalog.cache();
    let mut before = Stats::default();
    while let (Some(redis_up), Some(bus_connected)) = (cache.shared_tier_up(), cache.bus_connected()) {
        sleep(INTERVAL).await;
        let now = cache.stats();
        let found = now.log_known + now.log_new - before.log_known - before.log_new;
        tracing::info!(
            redis_up,
            bus_connected,
            l1_hits = now.hits - before.hits,
            l1_misses = now.misses - before.misses,
            l2_hits = now.l2_hits - before.l2_hits,
            l2_misses = now.l2_misses - before.l2_misses,
            l2_not_standing = now.l2_invalid - before.l2_invalid,
            l2_timeouts = now.l2_timeouts - before.l2_timeouts,
            loads = now.loads - before.loads,
            bus_messages = now.bus_messages - before.bus_messages,
            bus_overflows = now.bus_overflows - before.bus_overflows,
            bus_lag_us = u64::try_from(cache.bus_lag().as_micros()).unwrap_or(u64::MAX),
            changes_found = found,
            changes_not_brought = now.log_new - before.log_new,
            "shared tier in the last minute"
        );
        before = now;
    }
}
