//! Log lines that an attacker could repeat without end.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How often one kind of line is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// Allows a line now and then, and counts those in between.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Option<Recent>>);

#[derive(Debug)]
struct Recent {
    logged: Instant,
    left_out: u64,
}

impl Throttle {
    /// Whether a line may be logged now, and then how many were left out since the last one.
    pub(crate) fn allows(&self) -> Option<u64> {
        let now = Instant::now();
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *recent {
            Some(recent) if now.duration_since(recent.logged) < INTERVAL => {
                recent.left_out += 1;
                None
            }
            recent => {
                let left_out = recent.take().map_or(0, |recent| recent.left_out);
                *recent = Some(Recent { logged: now, left_out });
                Some(left_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_in_between_are_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.allows(), Some(0));
        assert_eq!((throttle.allows(), throttle.allows()), (None, None));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(throttle.allows(), Some(2));
    }
}
