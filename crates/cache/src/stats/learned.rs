//! How long changes take from their commit to this replica.

use std::time::Duration;

use super::{Counters, LatencySummary, Source};
use crate::wall_clock::now_micros;

/// How long changes took from their commit to this replica, by the source that brought them first. The changes are those of other
/// replicas and of foreign programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitToLearned {
    /// Changes from the bus.
    pub bus: LatencySummary,
    /// Changes from the change log.
    pub log: LatencySummary,
}

impl Counters {
    /// Records changes that are applied now, by when the database logged them. Each change counts once, for the source that brought
    /// it first. Where the clock of the database is ahead of ours, the time counts as none.
    pub(crate) fn record_learned(&self, source: Source, logged_micros: impl Iterator<Item = u64>) {
        let latencies = match source {
            Source::Own => return,
            Source::Bus => &self.bus_delay,
            Source::Log | Source::LogAlone => &self.log_delay,
        };
        let now = now_micros();
        for logged in logged_micros {
            latencies.record(Duration::from_micros(now.saturating_sub(logged)));
        }
    }

    pub(crate) fn commit_to_learned(&self) -> CommitToLearned {
        CommitToLearned { bus: self.bus_delay.summary(), log: self.log_delay.summary() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_recorded_by_source_and_never_negative() {
        let counters = Counters::default();
        let now = now_micros();
        counters.record_learned(Source::Bus, [now - 2_000_000, now + 60_000_000].into_iter());
        counters.record_learned(Source::LogAlone, [now - 500_000].into_iter());
        counters.record_learned(Source::Own, [now].into_iter());
        let CommitToLearned { bus, log } = counters.commit_to_learned();
        assert_eq!((bus.count, log.count), (2, 1));
        assert!(bus.p50 < Duration::from_micros(1), "the clock of the database was ahead: {bus:?}");
        assert!(bus.p99 >= Duration::from_secs(2));
    }
}
