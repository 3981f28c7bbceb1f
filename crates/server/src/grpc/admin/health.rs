//! Whether every tier works, by real probes.

use std::time::Duration;

use larder_cache::{Cache, CacheConfig, Unreachable};
use larder_proto::{
    admin::{BreakerState, BusHealth, ChangeLogHealth, GetHealthResponse, TierHealth},
    catalog::CacheTier,
};

use super::Identity;
use crate::{
    catalog::{Catalog, Copy},
    contract::duration,
};

/// Probes every tier.
pub(super) async fn of_replica(identity: &Identity, catalog: &Catalog) -> GetHealthResponse {
    let cache = catalog.cache();
    let (l2, database, rows) = tokio::join!(cache.probe_l2(), catalog.probe(), catalog.log_rows());
    let mut tiers = vec![tried(CacheTier::L1, cache.probe_l1())];
    tiers.extend(l2.map(|probe| {
        let up = cache.shared_tier_up() == Some(true);
        let breaker = if up { BreakerState::Closed } else { BreakerState::Open };
        TierHealth { breaker: breaker.into(), ..tried(CacheTier::L2, probe) }
    }));
    tiers.push(match database {
        Ok(took) => tier(CacheTier::Database, Ok(took)),
        Err(error) => {
            tracing::warn!(%error, "probe of the database failed");
            tier(CacheTier::Database, Err("the database does not answer, or refuses to write"))
        }
    });
    let CacheConfig { staleness_bound, .. } = *cache.config();
    let fresh = cache.incomplete().is_none() && cache.age_of_last_pass().is_some_and(|age| age <= staleness_bound);
    GetHealthResponse {
        replica: Some(identity.message(cache.clock().now())),
        healthy: fresh && tiers.iter().all(|tier| tier.healthy),
        tiers,
        bus: cache.bus_connected().map(|connected| BusHealth { connected, lag: Some(duration(cache.bus_lag())) }),
        change_log: Some(change_log(cache, rows.ok())),
    }
}

/// How far a replica has read the change log, which has this many rows.
pub(super) fn change_log(cache: &Cache<Copy>, rows: Option<u64>) -> ChangeLogHealth {
    ChangeLogHealth {
        last_look: cache.age_of_last_pass().map(duration),
        staleness_bound: Some(duration(cache.config().staleness_bound)),
        rows,
        problem: cache.incomplete().as_deref().unwrap_or_default().to_owned(),
    }
}

fn tried(which: CacheTier, probe: Result<Duration, Unreachable>) -> TierHealth {
    match probe {
        Ok(took) => tier(which, Ok(took)),
        Err(error) => tier(which, Err(&error.to_string())),
    }
}

fn tier(tier: CacheTier, probe: Result<Duration, &str>) -> TierHealth {
    TierHealth {
        tier: tier.into(),
        healthy: probe.is_ok(),
        latency: probe.ok().map(duration),
        problem: probe.err().unwrap_or_default().to_owned(),
        breaker: BreakerState::Unspecified.into(),
    }
}
