//! What happened, in figures.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use larder_proto::catalog::CacheTier;
use tonic::Status;

use crate::{
    figures::{Figures, Hits, Percentiles, Tiers},
    history::Verdict,
    world::REPLICAS,
};

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
    found: AtomicU64,
    sought: AtomicU64,
    tiers: [AtomicU64; 3],
    read_errors: [AtomicU64; REPLICAS],
    write_errors: [AtomicU64; REPLICAS],
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    oldest: Duration,
    /// By replica.
    latencies: [Histogram<u64>; REPLICAS],
    delays: Histogram<u64>,
    /// From the begin of a write until a read elsewhere has shown it.
    journeys: Histogram<u64>,
    shown: Vec<String>,
    errors: Vec<String>,
}

impl Tally {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        let rest = Rest {
            oldest: Duration::ZERO,
            latencies: std::array::from_fn(|_| histogram()),
            delays: histogram(),
            journeys: histogram(),
            shown: Vec::new(),
            errors: Vec::new(),
        };
        Self {
            requests: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            found: AtomicU64::new(0),
            sought: AtomicU64::new(0),
            tiers: Default::default(),
            read_errors: Default::default(),
            write_errors: Default::default(),
            rest: Mutex::new(rest),
        }
    }

    /// A call that reads has been answered; of what is none of the load's it does not count where it came from.
    pub(crate) fn answered(&self, replica: usize, took: Duration, hits: Option<Hits>) {
        add(&self.requests);
        self.rest().latencies[replica].saturating_record(micros(took));
        if let Some(Hits { found, sought }) = hits {
            self.found.fetch_add(found, Ordering::Relaxed);
            self.sought.fetch_add(sought, Ordering::Relaxed);
        }
    }

    /// A product was looked for, and a tier had it, or its absence.
    pub(crate) fn found_in(&self, tier: CacheTier) {
        let index = match tier {
            CacheTier::L1 => 0,
            CacheTier::L2 => 1,
            CacheTier::Database => 2,
            CacheTier::Unspecified => return,
        };
        add(&self.tiers[index]);
    }

    /// Where products were found.
    pub(crate) fn tiers(&self) -> Tiers {
        let [l1, l2, database] = [0, 1, 2].map(|index: usize| self.tiers[index].load(Ordering::Relaxed));
        Tiers { l1, l2, database }
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
        self.rest().latencies[replica].saturating_record(micros(took));
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

    /// A write was seen elsewhere: `delay` after it was acknowledged, `journey` after it was begun.
    pub(crate) fn seen_after(&self, delay: Duration, journey: Duration) {
        let mut rest = self.rest();
        rest.delays.saturating_record(micros(delay));
        rest.journeys.saturating_record(micros(journey));
    }

    /// How long after their begin writes were seen elsewhere.
    pub(crate) fn journeys(&self) -> Percentiles {
        Percentiles::of(&self.rest().journeys)
    }

    /// Forgets how long reads took.
    pub(crate) fn reset_latencies(&self) {
        self.rest().latencies.iter_mut().for_each(Histogram::reset);
    }

    /// How long reads took.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        merged(&self.rest(), &std::array::from_fn::<_, REPLICAS, _>(|replica| replica))
    }

    /// How long reads of some replicas took.
    pub(crate) fn latency_of(&self, replicas: &[usize]) -> Percentiles {
        Percentiles::of(&merged(&self.rest(), replicas))
    }

    /// How often memory answered the load.
    pub(crate) fn hits(&self) -> Hits {
        Hits { found: self.found.load(Ordering::Relaxed), sought: self.sought.load(Ordering::Relaxed) }
    }

    /// The first wrong reads and errors, in words.
    pub(crate) fn shown(&self) -> Vec<String> {
        let rest = self.rest();
        rest.shown.iter().chain(&rest.errors).cloned().collect()
    }

    /// The figures so far.
    pub(crate) fn figures(&self) -> Figures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let hits = self.hits();
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
            latency: Percentiles::of(&merged(&rest, &std::array::from_fn::<_, REPLICAS, _>(|replica| replica))),
            delay: Percentiles::of(&rest.delays),
            hits,
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

fn merged(rest: &Rest, replicas: &[usize]) -> Histogram<u64> {
    let mut all = histogram();
    for replica in replicas {
        all.add(&rest.latencies[*replica]).expect("the same bounds");
    }
    all
}

/// With bounds of its own: one that grows by itself clips what is recorded saturating.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_out_as_they_went_in() {
        let tally = Tally::new();
        for millis in 1..=100 {
            tally.answered(0, Duration::from_millis(millis), None);
            tally.answered(1, Duration::from_millis(millis + 1_000), None);
            tally.seen_after(Duration::from_millis(10 * millis), Duration::from_millis(20 * millis));
        }
        let figures = tally.figures();
        let near =
            |found: Duration, millis: u64| found.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(1);
        let first = tally.latency_of(&[0, 2]);
        assert!(near(first.p50, 50) && near(first.p99, 99) && near(first.max, 100), "{first:?}");
        assert_eq!((figures.latency.count, first.count), (200, 100));
        assert!(near(figures.latency.max, 1_100) && near(figures.delay.max, 1_000), "{figures:?}");
        assert!(near(tally.journeys().max, 2_000), "{:?}", tally.journeys());
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
