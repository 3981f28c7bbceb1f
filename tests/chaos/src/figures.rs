//! The figures of a run.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use larder_proto::catalog::CacheTier;

use crate::world::REPLICAS;

/// The figures of a run, or of a part of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Calls made.
    pub(crate) requests: u64,
    /// States of keys that replies showed, each of which was checked.
    pub(crate) reads: u64,
    /// Those that must not be.
    pub(crate) wrong: u64,
    /// Those that were marked stale.
    pub(crate) stale: u64,
    /// Writes acknowledged.
    pub(crate) writes: u64,
    /// Reads that failed, by replica.
    pub(crate) read_errors: [u64; REPLICAS],
    /// Writes that failed, by replica.
    pub(crate) write_errors: [u64; REPLICAS],
    /// How long something newer had been acknowledged, at most, when a read that was not marked stale began.
    pub(crate) oldest: Duration,
    /// Of the calls that read.
    pub(crate) latency: Percentiles,
    /// How long after its acknowledgement a write was seen elsewhere.
    pub(crate) delay: Percentiles,
    /// How often memory answered the load.
    pub(crate) hits: Hits,
}

/// How much of what the load asked for was in the memory of the replica that it asked: products, absences and pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hits {
    /// What was there.
    pub(crate) found: u64,
    /// What was looked for.
    pub(crate) sought: u64,
}

/// Which tiers had the products that the load asked for one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tiers {
    /// The memory of the replica.
    pub(crate) l1: u64,
    /// Redis.
    pub(crate) l2: u64,
    /// None: the database was asked.
    pub(crate) database: u64,
}

/// What is left of a histogram.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Percentiles {
    /// Values in it.
    pub(crate) count: u64,
    /// The median.
    pub(crate) p50: Duration,
    /// See the name.
    pub(crate) p99: Duration,
    /// The largest.
    pub(crate) max: Duration,
}

impl Figures {
    /// All errors together.
    pub(crate) fn errors(&self) -> u64 {
        self.read_errors.iter().chain(&self.write_errors).sum()
    }
}

impl Hits {
    /// Of one thing that a tier had.
    pub(crate) fn of(tier: CacheTier) -> Self {
        Self { found: u64::from(tier == CacheTier::L1), sought: 1 }
    }

    /// What came after an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { found: self.found - earlier.found, sought: self.sought - earlier.sought }
    }

    /// The share that was there.
    pub(crate) fn percent(self) -> f64 {
        float(self.found) * 100.0 / float(self.sought.max(1))
    }
}

impl Tiers {
    /// What came after an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { l1: self.l1 - earlier.l1, l2: self.l2 - earlier.l2, database: self.database - earlier.database }
    }

    /// The share of what memory did not have that Redis had.
    pub(crate) fn percent_of_l2(self) -> f64 {
        Hits { found: self.l2, sought: self.l2 + self.database }.percent()
    }
}

impl Percentiles {
    /// Of what came after an earlier state of the same histogram.
    pub(crate) fn since(mut now: Histogram<u64>, earlier: &Histogram<u64>) -> Self {
        now.subtract(earlier).expect("an earlier state");
        Self::of(&now)
    }

    /// Of all values.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        let max = Duration::from_micros(histogram.max());
        Self { count: histogram.len(), p50: at(0.5), p99: at(0.99), max }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |errors: &[u64]| errors.iter().sum::<u64>();
        write!(
            f,
            "{} requests, {} reads checked, {} wrong, {} stale, {} writes, errors: {} reads {} writes, oldest read {:.0?}, \
             reads p50 {:.1?} p99 {:.1?} max {:.1?}",
            self.requests,
            self.reads,
            self.wrong,
            self.stale,
            self.writes,
            sum(&self.read_errors),
            sum(&self.write_errors),
            self.oldest,
            self.latency.p50,
            self.latency.p99,
            self.latency.max,
        )?;
        if self.delay.count > 0 {
            let Percentiles { count, p50, p99, max } = self.delay;
            write!(f, ", seen elsewhere p50 {p50:.1?} p99 {p99:.1?} max {max:.1?} (of {count})")?;
        }
        write!(f, ", L1 {:.1}%", self.hits.percent())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share to show")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_a_histogram_is_what_came_later() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).expect("valid bounds");
        histogram.record(900_000).expect("within the bounds");
        let earlier = histogram.clone();
        histogram.record(500).expect("within the bounds");
        let later = Percentiles::since(histogram, &earlier);
        assert_eq!((later.count, later.p99, later.max), (1, Duration::from_micros(500), Duration::from_micros(500)));
    }

    #[test]
    fn the_share_of_hits_is_that_of_a_stretch() {
        let earlier = Hits { found: 10, sought: 10 };
        let stretch = Hits { found: 19, sought: 20 }.since(earlier);
        assert_eq!((stretch.found, stretch.sought), (9, 10));
        assert!((stretch.percent() - 90.0).abs() < 1e-9);
        assert!(Hits::default().percent().abs() < 1e-9, "of nothing");
        assert_eq!(Hits::of(CacheTier::L1), Hits { found: 1, sought: 1 });
        assert_eq!(Hits::of(CacheTier::L2), Hits { found: 0, sought: 1 });
    }
}
