//! How many absences a replica shares.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::time::Moment;

/// Absences that are shared at once after a quiet time.
const BURST: u32 = 200;
/// The time after which one more may be shared.
const EACH: Duration = Duration::from_millis(50);

/// Limits the absences that a replica stores in L2: anybody can ask for ids that do not exist, and each absence takes the room of a
/// value. With their short time to live no more than some hundreds are there at a time.
#[derive(Debug)]
pub(crate) struct SharedAbsences(Mutex<Budget>);

#[derive(Debug)]
struct Budget {
    left: u32,
    /// Until when the time that has passed was counted.
    counted: Moment,
}

impl SharedAbsences {
    pub(crate) fn new(now: Moment) -> Self {
        Self(Mutex::new(Budget { left: BURST, counted: now }))
    }

    /// Whether one more absence may be shared.
    pub(super) fn admit(&self, now: Moment) -> bool {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.since(budget.counted).as_nanos() / EACH.as_nanos();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            budget.left = budget.left.saturating_add(earned).min(BURST);
            budget.counted = if budget.left == BURST { now } else { budget.counted.plus(EACH * earned) };
        }
        let admitted = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    #[test]
    fn a_flood_is_cut_to_a_trickle() {
        let clock = Clock::manual();
        let absences = SharedAbsences::new(clock.now());
        let admitted = |tries: u32| (0..tries).filter(|_| absences.admit(clock.now())).count();
        assert_eq!(admitted(200_000), 200);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(200_000), 20);
        clock.advance(Duration::from_hours(1));
        assert_eq!(admitted(200_000), 200);
    }
}
