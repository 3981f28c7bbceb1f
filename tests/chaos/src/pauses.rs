//! Pauses of the machine: how long somebody who wanted to run did not.
//!
//! They are in every figure here, and say how much of it is the machine's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often it is looked.
const TICK: Duration = Duration::from_millis(1);

/// Measures on a thread of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pauses {
    longest_micros: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

impl Pauses {
    /// Begins to measure.
    pub(crate) fn start() -> Self {
        let (longest_micros, end) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let pauses = Self { longest_micros: Arc::clone(&longest_micros), end: Arc::clone(&end) };
        thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(TICK);
                let late = begin.elapsed().saturating_sub(TICK);
                longest_micros.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        pauses
    }

    /// The longest one so far.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}
