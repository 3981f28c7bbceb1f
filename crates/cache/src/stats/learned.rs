//! How long changes take from their commit to this replica.

use std::time::Duration;

use super::{Counters, LatencySummary, Source};

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
    /// Records changes that are applied now, by when the database logged them; both in microseconds since 1970. Each change counts once, for the source that brought
    /// it first. Where the clock of the database is ahead of ours, the time counts as none.
    pub(crate) fn record_learned(&self, source: Source, now: u64, logged: impl Iterator<Item = u64>) {
        let latencies = match source {
            Source::Own => return,
            Source::Bus => &self.bus_delay,
            Source::Log | Source::LogAlone => &self.log_delay,
        };
        for logged in logged {
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
        let now = 1_700_000_000_000_000;
        counters.record_learned(Source::Bus, now, [now - 2_000_000, now + 60_000_000].into_iter());
        counters.record_learned(Source::LogAlone, now, [now - 500_000].into_iter());
        counters.record_learned(Source::Own, now, [now].into_iter());
        let CommitToLearned { bus, log } = counters.commit_to_learned();
        assert_eq!((bus.count, log.count), (2, 1));
        assert!(bus.p50 < Duration::from_micros(1), "the clock of the database was ahead: {bus:?}");
        assert!(bus.p99 >= Duration::from_secs(2));
    }
}
