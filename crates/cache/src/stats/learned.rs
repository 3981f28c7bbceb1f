//! How long changes take from their commit to this replica.

use std::time::Duration;

use super::{LatencySummary, Source, latency::Latencies};
use crate::wall_clock::now_micros;

/// The time from the logging of a change by the database to its application here, for changes of other replicas and of foreign
/// programs. Each change counts once, for the source that brought it first.
#[derive(Debug, Default)]
pub(crate) struct LearnedLatencies {
    bus: Latencies,
    log: Latencies,
}

/// How long changes took from their commit to this replica, by the source that brought them first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitToLearned {
    /// Changes from the bus.
    pub bus: LatencySummary,
    /// Changes from the change log.
    pub log: LatencySummary,
}

/// The source of a change that another replica or program made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSource {
    /// The bus.
    Bus,
    /// The change log.
    Log,
}

impl LearnedLatencies {
    /// Records changes that are applied now, by when they were logged. Where the clock of the database is ahead of ours, the time
    /// counts as none.
    pub(crate) fn record(&self, source: Source, logged_micros: impl Iterator<Item = u64>) {
        let Some(source) = ChangeSource::of(source) else { return };
        let (latencies, now) = (self.of(source), now_micros());
        for logged in logged_micros {
            latencies.record(Duration::from_micros(now.saturating_sub(logged)));
        }
    }

    pub(crate) fn read(&self) -> CommitToLearned {
        CommitToLearned { bus: self.bus.summary(), log: self.log.summary() }
    }

    /// How many times were at most as long as each bound, and the sum of all times.
    pub(crate) fn buckets(&self, source: ChangeSource, bounds: &[Duration]) -> (Vec<u64>, Duration) {
        self.of(source).buckets(bounds)
    }

    fn of(&self, source: ChangeSource) -> &Latencies {
        match source {
            ChangeSource::Bus => &self.bus,
            ChangeSource::Log => &self.log,
        }
    }
}

impl ChangeSource {
    /// `None` for changes of this replica.
    pub(crate) fn of(source: Source) -> Option<Self> {
        match source {
            Source::Own => None,
            Source::Bus => Some(Self::Bus),
            Source::Log | Source::LogAlone => Some(Self::Log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_recorded_by_source_and_never_negative() {
        let learned = LearnedLatencies::default();
        let now = now_micros();
        learned.record(Source::Bus, [now - 2_000_000, now + 60_000_000].into_iter());
        learned.record(Source::LogAlone, [now - 500_000].into_iter());
        learned.record(Source::Own, [now].into_iter());
        let CommitToLearned { bus, log } = learned.read();
        assert_eq!((bus.count, log.count), (2, 1));
        assert!(bus.p50 < Duration::from_micros(1), "the clock of the database was ahead: {bus:?}");
        let bounds = [1, 10, 100].map(Duration::from_secs);
        let (counts, sum) = learned.buckets(ChangeSource::Bus, &bounds);
        assert_eq!(counts, [1, 2, 2]);
        assert!(sum >= Duration::from_secs(2));
    }
}
