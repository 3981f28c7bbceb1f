//! The calls that are under way.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::history::Moment;

/// When each call that has not ended yet began.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    begun: Mutex<BTreeSet<(Moment, u64)>>,
    number: AtomicU64,
}

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    calls: &'a Calls,
    which: (Moment, u64),
}

impl Calls {
    /// A call begins.
    pub(crate) fn begin(&self, at: Moment) -> Call<'_> {
        let which = (at, self.number.fetch_add(1, Ordering::Relaxed));
        self.begun().insert(which);
        Call { calls: self, which }
    }

    /// When the oldest one began that is still under way.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        self.begun().first().map(|(at, _)| *at)
    }

    fn begun(&self) -> MutexGuard<'_, BTreeSet<(Moment, u64)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.begun().remove(&self.which);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_is_the_first_that_has_not_ended() {
        let (calls, at) = (Calls::default(), Moment::from_secs);
        assert_eq!(calls.oldest(), None);
        let (first, second) = (calls.begin(at(1)), calls.begin(at(1)));
        let third = calls.begin(at(2));
        drop(first);
        assert_eq!(calls.oldest(), Some(at(1)));
        drop(second);
        assert_eq!(calls.oldest(), Some(at(2)));
        drop(third);
        assert_eq!(calls.oldest(), None);
    }
}
