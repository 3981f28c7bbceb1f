//! Memory of what was finished when, for pruning by age without trusting any clock but this process's own.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::Incarnation;

const CAPACITY: usize = 512;

/// The horizons of snapshots taken so far, each with the time it was taken.
#[derive(Debug, Default)]
pub(crate) struct Horizons(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    of: Option<Incarnation>,
    seen: VecDeque<(Instant, u64)>,
}

impl Horizons {
    /// Remembers that everything below `horizon` was finished at `taken`, a time *after* the snapshot was taken, so that it
    /// seems younger than it is rather than older. When the memory is full every other entry goes: ages become coarser, never
    /// wrong. Another incarnation begins it anew.
    pub(crate) fn remember(&self, of: Incarnation, taken: Instant, horizon: u64) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.of != Some(of) {
            memory.of = Some(of);
            memory.seen.clear();
        }
        // What did not move need not be remembered again: the older entry says more.
        if memory.seen.back().is_some_and(|(_, last)| *last >= horizon) {
            return;
        }
        memory.seen.push_back((taken, horizon));
        if memory.seen.len() > CAPACITY {
            let mut index = 0;
            memory.seen.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// The highest horizon that is at least `age` old at `now`; lower ones are forgotten.
    pub(crate) fn older_than(&self, of: Incarnation, now: Instant, age: Duration) -> Option<u64> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.of != Some(of) {
            return None;
        }
        let found = memory.seen.iter().rposition(|(taken, _)| now.saturating_duration_since(*taken) >= age)?;
        memory.seen.drain(..found);
        memory.seen.front().map(|(_, horizon)| *horizon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(1);

    #[test]
    fn only_what_is_old_enough_counts() {
        let (horizons, start) = (Horizons::default(), Instant::now());
        let second = Duration::from_secs(1);
        for step in 0..10 {
            horizons.remember(LIFE, start + second * step, u64::from(step) * 100);
        }
        let now = start + second * 10;
        assert_eq!(horizons.older_than(LIFE, now, second * 11), None);
        assert_eq!(horizons.older_than(LIFE, now, second * 10), Some(0));
        assert_eq!(horizons.older_than(LIFE, now, second * 3), Some(700));
        assert_eq!(horizons.older_than(Incarnation(2), now, second), None);
    }

    #[test]
    fn a_full_memory_becomes_coarser_and_stays_safe() {
        let (horizons, start) = (Horizons::default(), Instant::now());
        let step = Duration::from_millis(250);
        for index in 0..20_000_u32 {
            horizons.remember(LIFE, start + step * index, u64::from(index));
        }
        let now = start + step * 20_000;
        for age in [14_400_u32, 5_000, 100, 1] {
            let found = horizons.older_than(LIFE, now, step * age);
            assert!(found.is_some_and(|horizon| horizon <= u64::from(20_000 - age)), "{age}: {found:?}");
        }
    }
}
