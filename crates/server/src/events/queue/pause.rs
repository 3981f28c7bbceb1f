//! How long to wait before another try.

use std::time::Duration;

use larder_back_off::{BackOff, part_of};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// Waits by a seeded source of randomness.
pub(super) struct Pause {
    back_off: BackOff,
    rng: SmallRng,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

impl Pause {
    pub(super) fn new(seed: u64) -> Self {
        Self { back_off: BackOff::new(FIRST, LONGEST), rng: SmallRng::seed_from_u64(seed) }
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        self.back_off.next(self.rng.random())
    }

    /// Starts again from the first.
    pub(super) fn reset(&mut self) {
        self.back_off.reset();
    }

    /// From half of a time to all of it.
    pub(super) fn part_of(&mut self, time: Duration) -> Duration {
        part_of(time, self.rng.random())
    }
}
