//! How long to wait before another try.

use std::time::Duration;

use crate::jitter::Jitter;

/// Waits that double up to a limit, each shortened at random.
#[derive(Debug)]
pub(crate) struct BackOff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl BackOff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait.
    pub(crate) fn next(&mut self, jitter: &Jitter) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        jitter.part_of(wait)
    }

    /// Starts again from the first.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
