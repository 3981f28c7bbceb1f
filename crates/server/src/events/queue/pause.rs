//! How long to wait before another try.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// Waits that double up to a limit, each shortened at random by up to half.
pub(super) struct Pause {
    next: Duration,
    rng: SmallRng,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

impl Pause {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: FIRST, rng: SmallRng::seed_from_u64(seed) }
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        self.part_of(wait)
    }

    /// Starts again from the first.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// From half of a time to the whole.
    pub(super) fn part_of(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut pause = Pause::new(1);
        let mut most = FIRST;
        for _ in 0..20 {
            let wait = pause.next();
            assert!(wait <= most && wait >= most / 2, "{wait:?}");
            most = (most * 2).min(LONGEST);
        }
        pause.reset();
        assert!(pause.next() <= FIRST);
    }
}
