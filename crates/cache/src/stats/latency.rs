//! Latencies of loads and commands.

use std::{fmt, time::Duration};

use histogram::AtomicHistogram;

use super::Counter;

/// A histogram of durations that many threads record without contention.
pub(crate) struct Latencies {
    histogram: AtomicHistogram,
    nanos: Counter,
}

/// A summary of recorded durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencySummary {
    /// How many durations were recorded.
    pub count: u64,
    /// The mean.
    pub mean: Duration,
    /// The median, accurate to 1/32, like the other percentiles.
    pub p50: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The 99th percentile.
    pub p99: Duration,
}

/// Buckets are 1/32 of their value wide.
const GROUPING_POWER: u8 = 5;
/// The longest recorded duration: 2^40 nanoseconds, some 18 minutes. Longer durations count as this one.
const MAX_VALUE_POWER: u8 = 40;
const MOST: u64 = (1 << MAX_VALUE_POWER) - 1;

impl Latencies {
    /// Records a duration.
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).map_or(MOST, |nanos| nanos.min(MOST));
        // Cannot fail: the value is in range.
        let _ = self.histogram.increment(nanos);
        self.nanos.add(nanos);
    }

    /// How many durations were at most as long as each bound, to within a bucket, and the sum of all durations.
    pub(crate) fn buckets(&self, bounds: &[Duration]) -> (Vec<u64>, Duration) {
        let recorded = self.histogram.load();
        let mut counts = vec![0; bounds.len()];
        for bucket in recorded.into_iter().filter(|bucket| bucket.count() > 0) {
            let ends = Duration::from_nanos(bucket.end());
            bounds.iter().zip(&mut counts).filter(|(bound, _)| ends <= **bound).for_each(|(_, count)| {
                *count += bucket.count();
            });
        }
        (counts, Duration::from_nanos(self.nanos.get()))
    }

    /// Summarizes the recorded durations.
    pub(crate) fn summary(&self) -> LatencySummary {
        let recorded = self.histogram.load();
        let mut buckets = [None, None, None];
        let found = recorded.quantile_buckets_into(&[0.5, 0.95, 0.99], &mut buckets);
        let [Some(p50), Some(p95), Some(p99)] = buckets else { return LatencySummary::default() };
        if found.is_err() {
            return LatencySummary::default();
        }
        let count: u64 = recorded.as_slice().iter().sum();
        LatencySummary {
            count,
            mean: Duration::from_nanos(self.nanos.get().checked_div(count).unwrap_or(0)),
            p50: Duration::from_nanos(p50.end()),
            p95: Duration::from_nanos(p95.end()),
            p99: Duration::from_nanos(p99.end()),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the powers are constants, and a test makes one")]
        let histogram = AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect("powers that fit");
        Self { histogram, nanos: Counter::default() }
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_what_was_recorded() {
        let latencies = Latencies::default();
        assert_eq!(latencies.summary(), LatencySummary::default());
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let LatencySummary { count, mean, p50, p95, p99 } = latencies.summary();
        assert_eq!(count, 1_000);
        assert_eq!(mean, Duration::from_nanos(500_500));
        for (found, exact) in [(p50, 500.0), (p95, 950.0), (p99, 990.0)] {
            let off = found.as_secs_f64() * 1e6 / exact;
            assert!((0.99..1.0 + 1.0 / 31.0).contains(&off), "{found:?} for {exact} us");
        }
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let latencies = Latencies::default();
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.summary().count, 2);
        assert!(latencies.summary().p99 > Duration::from_secs(1_000));
    }
}
