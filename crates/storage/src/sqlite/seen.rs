//! What loads and looks saw of the change log, so that neither goes by a life of the file that another state has replaced.
//!
//! A copy of the file that is put back, by SQLite's backup or under a server that was stopped, brings its life id along, and
//! numbers of changes are used again. So each load names the newest change that it saw, and the next look makes sure that this
//! very change is still there. A load that ends is judged between two looks, never during one: no look then answers for
//! a load of which it does not know.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Incarnation, Snapshot, Witness};

/// Newest changes that loads may have seen since a look; more are not remembered, and what was loaded is not kept.
const MOST: usize = 4_096;

/// What was seen of one file.
#[derive(Debug, Default)]
pub(super) struct SeenChanges {
    /// Looks that have begun.
    looks: AtomicU64,
    /// Held by a look for its whole length, and by those who judge a load.
    looking: RwLock<()>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// What the last look saw.
    last: Option<(Incarnation, Witness)>,
    /// What loads saw, by incarnation and number: the salt, and whether a look found it.
    loads: BTreeMap<(u64, u64), (u64, bool)>,
}

/// What was known when a load began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    looks: u64,
    last: Option<(Incarnation, Witness)>,
}

/// What becomes of a load.
#[derive(Debug)]
pub(super) enum Judgement<'a> {
    /// It may be kept.
    Kept,
    /// It saw less than a look before it, or another change in its place: it is of another life.
    OtherLife,
    /// A look began meanwhile. Whether the change that it saw is still there must be seen again, while none begins.
    LookAgain(Quiet<'a>),
}

/// No look begins while this is held.
#[derive(Debug)]
pub(super) struct Quiet<'a> {
    seen: &'a SeenChanges,
    _quiet: RwLockReadGuard<'a, ()>,
}

impl SeenChanges {
    /// A load begins: what it sees is no less than the last look saw.
    pub(super) fn begin(&self) -> Begun {
        let facts = self.facts();
        Begun { looks: self.looks.load(Ordering::SeqCst), last: facts.last }
    }

    /// A load has ended that saw this change as the newest.
    pub(super) async fn judge(&self, begun: Begun, incarnation: Incarnation, newest: Witness) -> Judgement<'_> {
        let below = |last: Witness| newest.id < last.id || (newest.id == last.id && newest.salt != last.salt);
        if begun.last.is_some_and(|(of, last)| of == incarnation && below(last)) {
            return Judgement::OtherLife;
        }
        let quiet = Quiet { seen: self, _quiet: self.looking.read().await };
        if self.looks.load(Ordering::SeqCst) != begun.looks {
            return Judgement::LookAgain(quiet);
        }
        quiet.keep(incarnation, newest)
    }

    /// A look begins: no load is judged until what is returned is dropped.
    pub(super) async fn look(&self) -> RwLockWriteGuard<'_, ()> {
        let looking = self.looking.write().await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        looking
    }

    /// What loads saw that must be in the log: of the incarnation that is followed, and no longer vouched for by the look that
    /// `since` tells of. Whoever follows nothing keeps nothing.
    pub(super) fn to_find(&self, since: Option<(&Snapshot, Incarnation)>) -> Vec<Witness> {
        let mut facts = self.facts();
        let Some((snapshot, of)) = since else {
            facts.loads.clear();
            return Vec::new();
        };
        facts.loads.retain(|&(incarnation, number), &mut (_, found)| {
            incarnation == of.0 && !(found && number < snapshot.xmax)
        });
        facts.loads.iter().map(|(&(_, id), &(salt, _))| Witness { id, salt }).collect()
    }

    /// A look has ended, and found what was to be found.
    pub(super) fn looked(&self, incarnation: Incarnation, newest: Witness) {
        let mut facts = self.facts();
        facts.last = Some((incarnation, newest));
        facts.loads.values_mut().for_each(|(_, found)| *found = true);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Quiet<'a> {
    /// The change is there: the next look will make sure that it still is.
    pub(super) fn keep(self, incarnation: Incarnation, newest: Witness) -> Judgement<'a> {
        let Witness { id: number, salt } = newest;
        let mut facts = self.seen.facts();
        if facts.last == Some((incarnation, newest)) {
            return Judgement::Kept;
        }
        let room = facts.loads.len() < MOST;
        match facts.loads.get_mut(&(incarnation.0, number)) {
            Some((known, found)) if *known == salt => {
                *found = false;
                Judgement::Kept
            }
            None if room => {
                facts.loads.insert((incarnation.0, number), (salt, false));
                Judgement::Kept
            }
            Some(_) | None => Judgement::OtherLife,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(1);

    fn snapshot(newest: u64) -> Snapshot {
        Snapshot { xmin: newest + 1, xmax: newest + 1, in_progress: Vec::new(), salt: Some(newest) }
    }

    fn change(id: u64, salt: u64) -> Witness {
        Witness { id, salt }
    }

    async fn look(seen: &SeenChanges, newest: Witness) {
        let _looking = seen.look().await;
        seen.looked(LIFE, newest);
    }

    #[tokio::test]
    async fn a_load_that_saw_less_than_a_look_before_it_is_of_another_life() {
        let seen = SeenChanges::default();
        look(&seen, change(10, 10)).await;
        for (newest, kept) in
            [(change(10, 10), true), (change(11, 1), true), (change(9, 9), false), (change(10, 9), false)]
        {
            let judged = seen.judge(seen.begin(), LIFE, newest).await;
            assert_eq!(matches!(judged, Judgement::Kept), kept, "{newest:?}");
        }
        let elsewhere = seen.judge(seen.begin(), Incarnation(2), change(3, 3)).await;
        assert!(matches!(elsewhere, Judgement::Kept), "which is not the life that is followed");
    }

    #[tokio::test]
    async fn a_look_during_a_load_is_asked_about() {
        let seen = SeenChanges::default();
        look(&seen, change(10, 10)).await;
        let begun = seen.begin();
        look(&seen, change(12, 12)).await;
        let Judgement::LookAgain(quiet) = seen.judge(begun, LIFE, change(11, 11)).await else {
            panic!("judged at once")
        };
        assert!(seen.looking.try_write().is_err(), "no look begins meanwhile");
        assert!(matches!(quiet.keep(LIFE, change(11, 11)), Judgement::Kept));
        assert!(seen.looking.try_write().is_ok());
        assert_eq!(seen.to_find(Some((&snapshot(12), LIFE))), [change(11, 11)]);
    }

    #[tokio::test]
    async fn what_a_look_found_is_looked_for_until_that_look_was_taken_in() {
        let seen = SeenChanges::default();
        look(&seen, change(10, 10)).await;
        assert!(matches!(seen.judge(seen.begin(), LIFE, change(12, 12)).await, Judgement::Kept));
        for _ in 0..2 {
            // Whoever looks still goes by what was seen before: the look that found it was lost on the way.
            assert_eq!(seen.to_find(Some((&snapshot(10), LIFE))), [change(12, 12)]);
            look(&seen, change(12, 12)).await;
        }
        assert!(seen.to_find(Some((&snapshot(12), LIFE))).is_empty());
        assert!(matches!(seen.judge(seen.begin(), LIFE, change(13, 13)).await, Judgement::Kept));
        assert!(
            matches!(seen.judge(seen.begin(), LIFE, change(13, 14)).await, Judgement::OtherLife),
            "two of one number"
        );
        assert!(seen.to_find(Some((&snapshot(12), Incarnation(2)))).is_empty(), "its copies are gone");
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let seen = SeenChanges::default();
        let kept = |number| {
            let seen = &seen;
            async move { matches!(seen.judge(seen.begin(), LIFE, change(number, number)).await, Judgement::Kept) }
        };
        for number in 1..=MOST as u64 {
            assert!(kept(number).await);
        }
        assert!(!kept(MOST as u64 + 1).await);
        assert!(kept(1).await);
    }
}
