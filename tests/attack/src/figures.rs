//! What was measured.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    load::{Ended, Kind, Tally},
    target::Usage,
};

/// Latencies and failures of one kind of call.
#[derive(Debug)]
pub(crate) struct Record(Mutex<Calls>);

#[derive(Debug)]
struct Calls {
    /// In microseconds.
    latency: Histogram<u64>,
    failed: u64,
    /// Why the first call failed.
    why: Option<String>,
}

/// The same, summed up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) why: Option<String>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

/// The figures of one part of an attack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase {
    pub(crate) length: Duration,
    /// Reads of the polite client.
    pub(crate) reads: Summary,
    /// Health checks on the catalogue's port, over connections of their own.
    pub(crate) health: Summary,
    /// Calls of `CacheAdmin`.
    pub(crate) admin: Summary,
    /// Probes by HTTP.
    pub(crate) http: Summary,
    /// The most that the process used.
    pub(crate) usage: Usage,
    /// The time on processors that the process took, of the length.
    pub(crate) busy: f64,
}

/// The figures of one attack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    /// Before, during and after it.
    pub(crate) phases: [Phase; 3],
    /// What was answered of ten times too many calls.
    pub(crate) goodput: Vec<Goodput>,
}

/// Calls of one kind that were answered in time, a second.
#[derive(Debug, Clone)]
pub(crate) struct Goodput {
    pub(crate) kind: &'static str,
    /// While there were as many as the replica can answer.
    pub(crate) peak: f64,
    /// While there were ten times as many.
    pub(crate) tenfold: f64,
    /// How the calls of these ended.
    pub(crate) ended: Ended,
}

impl Goodput {
    pub(crate) fn of(kind: Kind, peak: &Tally, tenfold: &Tally) -> Self {
        let ended = tenfold.kinds[kind as usize];
        Self { kind: kind.name(), peak: peak.goodput(kind), tenfold: tenfold.goodput(kind), ended }
    }

    /// The part of the peak.
    pub(crate) fn share(&self) -> f64 {
        self.tenfold / self.peak.max(f64::EPSILON)
    }
}

impl Record {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new(3).expect("three digits");
        Self(Mutex::new(Calls { latency, failed: 0, why: None }))
    }

    /// Counts a call.
    pub(crate) fn add(&self, took: Duration, outcome: Result<(), String>) {
        let mut calls = self.lock();
        match outcome {
            Ok(()) => {
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                // The histogram grows to any time that a phase can last.
                let _ = calls.latency.record(took);
            }
            Err(why) => {
                calls.failed += 1;
                calls.why.get_or_insert(why);
            }
        }
    }

    /// Sums up, and begins anew.
    pub(crate) fn take(&self) -> Summary {
        let mut calls = self.lock();
        let at = |quantile| Duration::from_micros(calls.latency.value_at_quantile(quantile));
        let summary = Summary {
            calls: calls.latency.len() + calls.failed,
            failed: calls.failed,
            why: None,
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_micros(calls.latency.max()),
        };
        calls.latency.reset();
        calls.failed = 0;
        Summary { why: calls.why.take(), ..summary }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_begins_anew() {
        let record = Record::new();
        (1..=100).for_each(|number| record.add(Duration::from_millis(number), Ok(())));
        record.add(Duration::ZERO, Err("no answer".to_owned()));
        let summary = record.take();
        assert_eq!((summary.calls, summary.failed, summary.why.as_deref()), (101, 1, Some("no answer")));
        assert!(summary.p50 >= Duration::from_millis(50) && summary.p99 < summary.max, "{summary:?}");
        assert_eq!(record.take().calls, 0);
    }
}
