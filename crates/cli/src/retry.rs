//! How long to wait before the next attempt.

use std::time::Duration;

use larder_back_off::BackOff;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Attempts with growing pauses, which end after too long a time without progress.
#[derive(Debug)]
pub(crate) struct Retry {
    rng: SmallRng,
    limit: Duration,
    back_off: BackOff,
    since: Option<Instant>,
}

impl Retry {
    /// Attempts for at most `limit`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the process's own source of chance: pauses of many clients must differ"
    )]
    pub(crate) fn new(limit: Duration) -> Self {
        Self { rng: SmallRng::from_os_rng(), limit, back_off: BackOff::new(FIRST, LONGEST), since: None }
    }

    /// Notes progress: the next failure starts a new series of attempts.
    pub(crate) fn progress(&mut self) {
        self.back_off.reset();
        self.since = None;
    }

    /// How long to wait before the next attempt, at least as long as the server asks for; `None` means to give up.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let left = self.limit.checked_sub(now - since).filter(|left| !left.is_zero())?;
        let pause = self.back_off.next(self.rng.random()).max(asked.unwrap_or_default());
        Some(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut retry = Retry::new(Duration::from_secs(30));
        let mut total = Duration::ZERO;
        let mut count = 0;
        while let Some(pause) = retry.pause(None) {
            assert!(pause <= LONGEST);
            total += pause;
            count += 1;
            tokio::time::sleep(pause).await;
        }
        // A pause ends at a whole millisecond.
        assert!((29_900..=30_000).contains(&total.as_millis()), "{total:?}");
        assert!((8..=20).contains(&count), "{count}");
        retry.progress();
        assert!(retry.pause(None).unwrap() <= FIRST);
        assert!(retry.pause(Some(Duration::from_secs(9))).unwrap() >= Duration::from_secs(9));
    }
}
