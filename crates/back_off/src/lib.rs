//! Waits between attempts.

use std::time::Duration;

/// Waits that double up to a limit. Each is shortened at random by up to half, so that clients that lost a server together do not
/// come back together.
#[derive(Debug, Clone)]
pub struct BackOff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl BackOff {
    /// Waits from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait, by a random number from 0 to 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        part_of(wait, random)
    }

    /// Starts again from the first wait.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// From half of a time to all of it, by a random number from 0 to 1.
pub fn part_of(time: Duration, random: f64) -> Duration {
    let seconds = time.as_secs_f64() * (1.0 - random.clamp(0.0, 1.0) / 2.0);
    // A float cannot be converted back into the longest durations.
    Duration::try_from_secs_f64(seconds).map_or(time, |part| part.min(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let millis = Duration::from_millis;
        let mut back_off = BackOff::new(millis(50), millis(300));
        let waits: Vec<_> = [0.0, 1.0, 0.0, 0.5, 0.0].map(|random| back_off.next(random)).into();
        assert_eq!(waits, [50, 50, 200, 225, 300].map(millis));
        back_off.reset();
        assert_eq!(back_off.next(0.0), millis(50));
    }

    #[test]
    fn the_longest_time_has_parts_too() {
        assert_eq!(part_of(Duration::MAX, 0.0), Duration::MAX);
        assert!(part_of(Duration::MAX, 1.0) < Duration::MAX);
        assert_eq!(part_of(Duration::from_secs(4), 7.0), Duration::from_secs(2));
    }
}
