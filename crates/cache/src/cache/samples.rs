//! The figures of a cache as samples of metrics.

use crate::{
    Cache,
    l1::Value,
    stats::{LoadOutcome, Reading, Sample, metrics},
};

impl<V: Value> Cache<V> {
    /// Every figure of the cache now. What only a shared tier has is missing without one.
    pub fn samples(&self) -> Vec<Sample> {
        let (config, stats) = (self.config(), self.stats());
        let (age, bound) = (self.age_of_last_pass(), config.staleness_bound);
        let in_sync = age.is_some_and(|age| age <= bound) && self.incomplete().is_none();
        let counters = self.counters();
        let mut samples = stats.samples();
        samples.extend([
            metrics::L2_DURATION.sample(["redis"], Reading::Histogram(counters.l2_latency.distribution())),
            metrics::COMMIT_TO_LEARNED.sample(["bus"], Reading::Histogram(counters.bus_delay.distribution())),
            metrics::COMMIT_TO_LEARNED.sample(["log"], Reading::Histogram(counters.log_delay.distribution())),
            metrics::CACHE_ENTRIES.count(["l1"], stats.entries),
            metrics::CACHE_SIZE.count(["l1"], stats.bytes),
            metrics::CACHE_CAPACITY.count(["l1"], config.l1_bytes),
            metrics::CACHE_CAPACITY_ENTRIES.count(["l1"], config.l1_entries),
            metrics::PASS_AGE.number([], age.map_or(f64::INFINITY, |age| age.as_secs_f64())),
            metrics::STALENESS_BOUND.number([], bound.as_secs_f64()),
            metrics::IN_SYNC.flag(in_sync),
        ]);
        for (outcome, name) in
            [(LoadOutcome::Found, "ok"), (LoadOutcome::NotFound, "not_found"), (LoadOutcome::Failed, "error")]
        {
            let loads = counters.load_latency.of(outcome).distribution();
            samples.push(metrics::LOAD_DURATION.sample([name], Reading::Histogram(loads)));
        }
        samples.extend(self.shared_tier_up().map(|up| metrics::L2_BREAKER_OPEN.flag(!up)));
        if let Some(connected) = self.bus_connected() {
            let peers = self.replicas().len() as u64;
            samples.extend([
                metrics::BUS_UP.flag(connected),
                metrics::PEERS.count([], peers),
                metrics::BUS_LAG.number([], self.bus_lag().as_secs_f64()),
            ]);
        }
        samples
    }
}
