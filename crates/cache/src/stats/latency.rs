//! Latencies of loads and commands.

use std::{fmt, time::Duration};

use histogram::{AtomicHistogram, Histogram};

use super::{
    Counter,
    metric::{BOUNDS, Distribution},
};

/// A histogram of durations that many threads record without contention.
pub(crate) struct Latencies {
    histogram: AtomicHistogram,
    nanos: Counter,
}

/// The latencies of loads, by how they ended.
#[derive(Debug, Default)]
pub(crate) struct LoadLatencies {
    found: Latencies,
    not_found: Latencies,
    failed: Latencies,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadOutcome {
    /// At least one of the keys has a value.
    Found,
    /// None of the keys has a value.
    NotFound,
    Failed,
}

/// A summary of recorded durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencySummary {
    /// How many durations were recorded.
    pub count: u64,
    /// All durations together.
    pub total: Duration,
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

    /// The recorded durations in the buckets of metrics. A bucket here that reaches over a bound counts above that bound.
    pub(crate) fn distribution(&self) -> Distribution {
        let recorded = self.histogram.load();
        let mut up_to = vec![0; BOUNDS.len()];
        let mut count = 0;
        for bucket in recorded.iter().filter(|bucket| bucket.count() > 0) {
            count += bucket.count();
            if let Some(first) = BOUNDS.iter().position(|&bound| bucket.end() <= bound) {
                up_to[first..].iter_mut().for_each(|up_to| *up_to += bucket.count());
            }
        }
        Distribution { up_to, count, sum: Duration::from_nanos(self.nanos.get()).as_secs_f64(), exemplars: Vec::new() }
    }

    /// Summarizes the recorded durations.
    pub(crate) fn summary(&self) -> LatencySummary {
        summary(&self.histogram.load(), self.nanos.get())
    }

    /// How many durations were recorded.
    fn count(&self) -> u64 {
        self.histogram.load().as_slice().iter().sum()
    }
}

impl LoadLatencies {
    /// Records how long a load took that ended in a certain way.
    pub(crate) fn record(&self, outcome: LoadOutcome, took: Duration) {
        self.of(outcome).record(took);
    }

    /// The durations of loads that ended in a certain way.
    pub(crate) fn of(&self, outcome: LoadOutcome) -> &Latencies {
        match outcome {
            LoadOutcome::Found => &self.found,
            LoadOutcome::NotFound => &self.not_found,
            LoadOutcome::Failed => &self.failed,
        }
    }

    /// Summarizes all loads.
    pub(crate) fn summary(&self) -> LatencySummary {
        let [first, rest @ ..] = self.parts().map(|part| part.histogram.load());
        let all = rest.iter().try_fold(first, |all, part| all.wrapping_add(part));
        // Histograms of the same powers add up.
        all.map_or_else(|_| LatencySummary::default(), |all| summary(&all, self.nanos()))
    }

    /// How long a load takes on average.
    pub(crate) fn mean(&self) -> Duration {
        let count = self.parts().iter().map(|part| part.count()).sum();
        Duration::from_nanos(self.nanos().checked_div(count).unwrap_or(0))
    }

    fn nanos(&self) -> u64 {
        self.parts().iter().map(|part| part.nanos.get()).fold(0, u64::wrapping_add)
    }

    fn parts(&self) -> [&Latencies; 3] {
        [&self.found, &self.not_found, &self.failed]
    }
}

/// Summarizes durations, which are so many nanoseconds together.
fn summary(recorded: &Histogram, nanos: u64) -> LatencySummary {
    let mut buckets = [None, None, None];
    let found = recorded.quantile_buckets_into(&[0.5, 0.95, 0.99], &mut buckets);
    let [Some(p50), Some(p95), Some(p99)] = buckets else { return LatencySummary::default() };
    if found.is_err() {
        return LatencySummary::default();
    }
    let count: u64 = recorded.as_slice().iter().sum();
    LatencySummary {
        count,
        total: Duration::from_nanos(nanos),
        mean: Duration::from_nanos(nanos.checked_div(count).unwrap_or(0)),
        p50: Duration::from_nanos(p50.end()),
        p95: Duration::from_nanos(p95.end()),
        p99: Duration::from_nanos(p99.end()),
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
        let LatencySummary { count, total, mean, p50, p95, p99 } = latencies.summary();
        assert_eq!((count, total), (1_000, Duration::from_micros(500_500)));
        assert_eq!(mean, Duration::from_nanos(500_500));
        for (found, exact) in [(p50, 500.0), (p95, 950.0), (p99, 990.0)] {
            let off = found.as_secs_f64() * 1e6 / exact;
            assert!((0.99..1.0 + 1.0 / 31.0).contains(&off), "{found:?} for {exact} us");
        }
    }

    #[test]
    fn loads_are_summed_up_over_their_outcomes() {
        let latencies = LoadLatencies::default();
        assert_eq!((latencies.summary(), latencies.mean()), (LatencySummary::default(), Duration::ZERO));
        for (outcome, millis) in [(LoadOutcome::Found, 1), (LoadOutcome::NotFound, 2), (LoadOutcome::Failed, 9)] {
            latencies.record(outcome, Duration::from_millis(millis));
            assert_eq!(latencies.of(outcome).summary().count, 1);
        }
        let summary = latencies.summary();
        assert_eq!(
            (summary.count, summary.total, summary.mean),
            (3, Duration::from_millis(12), Duration::from_millis(4))
        );
        assert!(summary.p99 >= Duration::from_millis(9) && summary.p50 < Duration::from_millis(3), "{summary:?}");
        assert_eq!(latencies.mean(), summary.mean);
    }

    #[test]
    fn durations_are_in_the_buckets_of_metrics() {
        let latencies = Latencies::default();
        for micros in [1, 90, 240, 90_000, 9_000_000, 60_000_000] {
            latencies.record(Duration::from_micros(micros));
        }
        let Distribution { up_to, count, sum, .. } = latencies.distribution();
        assert_eq!(up_to, [2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5]);
        assert_eq!(count, 6);
        assert!((sum - 69.090_331).abs() < 1e-9, "{sum}");
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
