//! Latencies in an HDR histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Between a nanosecond and a minute, to three digits; what is outside counts as the nearest of the two.
const LOWEST: u64 = 1;
const HIGHEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Latencies, in nanoseconds inside.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("valid bounds"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The latency below which the share `quantile` of the requests stayed, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a minute in nanoseconds is far below 2^53")]
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// These latencies as they would be had a request been sent every `interval`, whether or not the one before had been
    /// answered. A closed loop leaves out the requests that a stall would have hit (coordinated omission): a latency of n
    /// intervals stands for n requests, and the missing ones are added with the latencies they would have seen.
    pub(crate) fn corrected(&self, interval: Duration) -> Self {
        Self(self.0.clone_correct(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)))
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected / 500.0
    }

    #[test]
    fn keeps_three_digits() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        assert!(near(latencies.micros(0.5), 500.0));
        assert!(near(latencies.micros(0.99), 990.0));
        assert!(near(latencies.micros(1.0), 1000.0));
    }

    #[test]
    fn what_is_out_of_range_still_counts() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_hours(1));
        assert_eq!(latencies.count(), 2);
        assert!(near(latencies.micros(1.0), 60e6));
    }

    #[test]
    fn a_stall_counts_for_every_request_it_would_have_hit() {
        let mut latencies = Latencies::new();
        for _ in 0..900 {
            latencies.record(Duration::from_micros(100));
        }
        latencies.record(Duration::from_millis(10));
        // One in 901 was slow: without the correction no percentile below 99.8 shows it.
        assert!(near(latencies.micros(0.99), 100.0));

        // A request every 100 µs would have met the stall 100 times: 10 ms, 9.9 ms, … 0.1 ms.
        let corrected = latencies.corrected(Duration::from_micros(100));
        assert_eq!(corrected.count(), 900 + 100);
        assert!(near(corrected.micros(0.95), 5_000.0), "{}", corrected.micros(0.95));
        assert!(near(corrected.micros(0.99), 9_000.0), "{}", corrected.micros(0.99));
        assert!(near(corrected.micros(0.5), 100.0));
    }
}
