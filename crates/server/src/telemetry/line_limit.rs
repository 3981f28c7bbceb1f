//! A limit on log lines of one kind.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

/// Lines in one second. What makes one event makes many, and the log must not become a part of the trouble.
const LINES_PER_SECOND: u64 = 10;

/// Since when seconds are counted.
static SINCE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Admits a few log lines in each second, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LineLimit {
    /// The second of the newest line, and the events in it: 32 bits each.
    window: AtomicU64,
    /// Events that no line told of.
    omitted: AtomicU64,
}

impl LineLimit {
    /// A limit of which nothing is used up.
    pub(crate) const fn new() -> Self {
        Self { window: AtomicU64::new(0), omitted: AtomicU64::new(0) }
    }

    /// Admits a line now; returns how many events had none since the last one. `None`: this event has none either.
    pub(crate) fn admit(&self) -> Option<u64> {
        self.admit_in(Instant::now().saturating_duration_since(*SINCE).as_secs())
    }

    fn admit_in(&self, second: u64) -> Option<u64> {
        let second = second & u64::from(u32::MAX);
        let next = |window: u64| if window >> 32 == second { window.saturating_add(1) } else { second << 32 | 1 };
        let before = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| Some(next(window)));
        if before.is_ok_and(|window| next(window) & u64::from(u32::MAX) <= LINES_PER_SECOND) {
            return Some(self.omitted.swap(0, Ordering::Relaxed));
        }
        self.omitted.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let limit = LineLimit::new();
        let mut omitted = 0;
        for second in [0, 1, 7] {
            let admitted: Vec<_> = (0..100).filter_map(|_| limit.admit_in(second)).collect();
            assert_eq!(admitted.len() as u64, LINES_PER_SECOND, "{second}");
            assert_eq!(admitted[0], omitted, "the first line tells what the second before left out");
            omitted = 90;
        }
    }
}
