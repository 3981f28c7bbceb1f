//! What happened, in figures.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use larder_proto::catalog::{CacheInfo, CacheTier};
use tonic::Status;

use crate::{history::Verdict, world::REPLICAS};

/// How many wrong reads and errors are shown in full.
const SHOWN: usize = 3;

/// Microseconds; whatever takes longer counts as this.
const LONGEST: u64 = 600_000_000;

/// The counters of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    requests: AtomicU64,
    reads: AtomicU64,
    wrong: AtomicU64,
    stale: AtomicU64,
    writes: AtomicU64,
    tiers: [AtomicU64; 3],
    read_errors: [AtomicU64; REPLICAS],
    write_errors: [AtomicU64; REPLICAS],
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    oldest: Duration,
    latencies: Histogram<u64>,
    delays: Histogram<u64>,
    shown: Vec<String>,
    errors: Vec<String>,
}

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
    /// The share of the calls that memory answered.
    pub(crate) l1_percent: f64,
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

impl Tally {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        // With bounds of its own: one that grows by itself clips what is recorded saturating.
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds");
        let rest = Rest {
            oldest: Duration::ZERO,
            latencies: histogram(),
            delays: histogram(),
            shown: Vec::new(),
            errors: Vec::new(),
        };
        Self {
            requests: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            tiers: Default::default(),
            read_errors: Default::default(),
            write_errors: Default::default(),
            rest: Mutex::new(rest),
        }
    }

    /// A call that reads has been answered.
    pub(crate) fn answered(&self, took: Duration, info: Option<&CacheInfo>) {
        add(&self.requests);
        self.rest().latencies.saturating_record(micros(took));
        let tier = match info.map(CacheInfo::tier) {
            Some(CacheTier::L1) => 0,
            Some(CacheTier::L2) => 1,
            _ => 2,
        };
        add(&self.tiers[tier]);
    }

    /// A read was checked.
    pub(crate) fn judged(&self, verdict: &Verdict, stale: bool) {
        add(&self.reads);
        if stale {
            add(&self.stale);
        }
        match verdict {
            Verdict::Right { age } if !stale && !age.is_zero() => {
                let mut rest = self.rest();
                rest.oldest = rest.oldest.max(*age);
            }
            Verdict::Right { .. } => {}
            Verdict::Wrong(wrong, text) => {
                add(&self.wrong);
                let mut rest = self.rest();
                if rest.shown.len() < SHOWN {
                    rest.shown.push(format!("{wrong}: {text}"));
                }
            }
        }
    }

    /// A call that reads has failed. It took its time as well.
    pub(crate) fn read_failed(&self, replica: usize, call: &str, took: Duration, status: &Status) {
        add(&self.requests);
        add(&self.read_errors[replica]);
        self.rest().latencies.saturating_record(micros(took));
        self.show(replica, call, took, status);
    }

    /// A write was acknowledged.
    pub(crate) fn written(&self) {
        add(&self.requests);
        add(&self.writes);
    }

    /// A write has failed, or nobody knows.
    pub(crate) fn write_failed(&self, replica: usize, took: Duration, status: &Status) {
        add(&self.requests);
        add(&self.write_errors[replica]);
        self.show(replica, "a write", took, status);
    }

    /// A write was seen elsewhere this long after it was acknowledged.
    pub(crate) fn seen_after(&self, delay: Duration) {
        self.rest().delays.saturating_record(micros(delay));
    }

    /// Forgets how long reads took.
    pub(crate) fn reset_latencies(&self) {
        self.rest().latencies.reset();
    }

    /// The first wrong reads and errors, in words.
    pub(crate) fn shown(&self) -> Vec<String> {
        let rest = self.rest();
        rest.shown.iter().chain(&rest.errors).cloned().collect()
    }

    /// The figures so far.
    pub(crate) fn figures(&self) -> Figures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tiers: Vec<_> = self.tiers.iter().map(get).collect();
        let answered = tiers.iter().sum::<u64>().max(1);
        let rest = self.rest();
        Figures {
            requests: get(&self.requests),
            reads: get(&self.reads),
            wrong: get(&self.wrong),
            stale: get(&self.stale),
            writes: get(&self.writes),
            read_errors: std::array::from_fn(|replica| get(&self.read_errors[replica])),
            write_errors: std::array::from_fn(|replica| get(&self.write_errors[replica])),
            oldest: rest.oldest,
            latency: Percentiles::of(&rest.latencies),
            delay: Percentiles::of(&rest.delays),
            l1_percent: float(tiers[0]) * 100.0 / float(answered),
        }
    }

    fn show(&self, replica: usize, call: &str, took: Duration, status: &Status) {
        let mut rest = self.rest();
        if rest.errors.len() < SHOWN {
            let (code, text) = (status.code(), status.message());
            rest.errors.push(format!("{call} on replica {} failed after {took:.1?}: {code:?}: {text}", replica + 1));
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    /// All errors together.
    pub(crate) fn errors(&self) -> u64 {
        self.read_errors.iter().chain(&self.write_errors).sum()
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
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
        write!(f, ", L1 {:.0}%", self.l1_percent)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a share to show")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_out_as_they_went_in() {
        let tally = Tally::new();
        for millis in 1..=100 {
            tally.answered(Duration::from_millis(millis), None);
            tally.seen_after(Duration::from_millis(10 * millis));
        }
        let figures = tally.figures();
        let near =
            |found: Duration, millis: u64| found.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(1);
        assert!(near(figures.latency.p50, 50) && near(figures.latency.p99, 99), "{figures:?}");
        assert!(near(figures.latency.max, 100) && near(figures.delay.max, 1_000), "{figures:?}");
        tally.reset_latencies();
        assert_eq!((tally.figures().latency.count, tally.figures().delay.count), (0, 100));
    }

    #[test]
    fn ages_and_wrong_reads_are_counted_apart_from_stale_ones() {
        let tally = Tally::new();
        let right = |millis| Verdict::Right { age: Duration::from_millis(millis) };
        tally.judged(&right(300), false);
        tally.judged(&right(5_000), true);
        tally.judged(&Verdict::Wrong(crate::history::Wrong::TooOld, "the read".to_owned()), false);
        let figures = tally.figures();
        assert_eq!((figures.reads, figures.stale, figures.wrong), (3, 1, 1));
        assert_eq!(figures.oldest, Duration::from_millis(300));
        assert_eq!(tally.shown(), ["older than the bound: the read"]);
    }
}
