//! Log lines about calls that took long.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::Code;

use crate::codes::code_name;

/// Lines in one second. What makes one call slow makes many slow, and the log must not become a part of it.
const LINES_PER_SECOND: u64 = 10;

/// The second of the newest line, and the slow calls in it: 32 bits each. The log is one for the whole process, and so is its limit.
static WINDOW: AtomicU64 = AtomicU64::new(0);
/// Slow calls that no line told of.
static OMITTED: AtomicU64 = AtomicU64::new(0);
/// Since when seconds are counted.
static SINCE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Logs calls that take longer than a threshold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowCalls(Duration);

impl SlowCalls {
    /// Logs calls over a threshold.
    pub(crate) fn over(threshold: Duration) -> Self {
        Self(threshold)
    }

    /// Logs a call that began waiting at `began`, if it was slow.
    pub(crate) fn note(self, began: Instant, code: Code) {
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        if took < self.0 {
            return;
        }
        if !admits(&WINDOW, now.saturating_duration_since(*SINCE).as_secs()) {
            OMITTED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let omitted = OMITTED.swap(0, Ordering::Relaxed);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(code = code_name(code), took_ms, omitted, "slow call");
    }
}

/// Whether a line may be written in a second.
fn admits(window: &AtomicU64, second: u64) -> bool {
    let second = second & u64::from(u32::MAX);
    let next = |window: u64| if window >> 32 == second { window.saturating_add(1) } else { second << 32 | 1 };
    let before = window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| Some(next(window)));
    before.is_ok_and(|window| next(window) & u64::from(u32::MAX) <= LINES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let window = AtomicU64::new(0);
        for second in [0, 1, 7] {
            let admitted = (0..100).filter(|_| admits(&window, second)).count();
            assert_eq!(admitted as u64, LINES_PER_SECOND, "{second}");
        }
    }
}
