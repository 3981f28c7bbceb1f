//! What the requests of one measurement add up to.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Fault, Latencies};

/// Counts of one measurement. Faults count from the first request, replies and latencies only while recording.
#[derive(Debug)]
pub(crate) struct Tally {
    recording: AtomicBool,
    replies: AtomicU64,
    latencies: Mutex<Latencies>,
    faults: Mutex<Faults>,
}

/// Wrong replies: how many, and what was wrong with the first.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) count: u64,
    pub(crate) first: Option<String>,
}

impl Faults {
    fn add(&mut self, fault: &Fault) {
        self.count += 1;
        self.first.get_or_insert_with(|| fault.to_string());
    }

    /// Adds those of another measurement.
    pub(crate) fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            recording: AtomicBool::new(false),
            replies: AtomicU64::new(0),
            latencies: Mutex::new(Latencies::new()),
            faults: Mutex::new(Faults::default()),
        }
    }

    pub(crate) fn record_from_now(&self, recording: bool) {
        self.recording.store(recording, Ordering::Relaxed);
    }

    pub(crate) fn recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    /// Counts what came of a request. A latency of none is one that is not to be recorded.
    pub(crate) fn count(&self, result: Result<(), Fault>, latency: Option<Duration>) {
        match (result, latency) {
            (Err(fault), _) => lock(&self.faults).add(&fault),
            (Ok(()), Some(latency)) => {
                self.replies.fetch_add(1, Ordering::Relaxed);
                lock(&self.latencies).record(latency);
            }
            (Ok(()), None) => {}
        }
    }

    pub(crate) fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }

    pub(crate) fn latencies(&self) -> Latencies {
        lock(&self.latencies).clone()
    }

    pub(crate) fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
