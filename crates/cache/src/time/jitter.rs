//! Randomness, for times that must not coincide.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// A seeded source of randomness.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<SmallRng>);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// `time`, shortened by up to `share` of it.
    pub(crate) fn shorten(&self, time: Duration, share: f64) -> Duration {
        let seconds = time.as_secs_f64() * (1.0 - share.clamp(0.0, 1.0) * self.unit());
        // A float cannot be converted back into the longest durations.
        Duration::try_from_secs_f64(seconds).map_or(time, |shortened| shortened.min(time))
    }

    /// Between half of `time` and all of it.
    pub(crate) fn part_of(&self, time: Duration) -> Duration {
        larder_back_off::part_of(time, self.unit())
    }

    /// Any number.
    pub(crate) fn number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// A number from 0 to 1.
    pub(crate) fn unit(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shortened_by_at_most_its_share() {
        let jitter = Jitter::new(1);
        let time = Duration::from_secs(100);
        let times: Vec<_> = (0..1_000).map(|_| jitter.shorten(time, 0.1)).collect();
        assert!(times.iter().all(|&t| t <= time && t >= Duration::from_secs(90)));
        assert!(times.iter().max() > times.iter().min());
        assert_eq!(jitter.shorten(time, 0.0), time);
        assert_eq!(jitter.shorten(Duration::MAX, 0.0), Duration::MAX);
    }
}
