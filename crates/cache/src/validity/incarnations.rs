//! Changes of incarnations other than the followed one: of a future incarnation, and of other catalogues over the same Redis.
//!
//! Each incarnation is bounded separately. What exceeds the bounds counts for every incarnation that is not kept individually.

use larder_change::Incarnation;

use super::change::Change;

/// Incarnations whose highest ids are kept individually.
const MOST_IDS: usize = 64;
/// Incarnations whose changes are kept.
const MOST_LIVES: usize = 8;
/// Changes kept per incarnation.
pub(crate) const MOST_AHEAD: usize = 1_024;

/// The highest id of something, by incarnation.
#[derive(Debug, Default)]
pub(crate) struct Highest {
    /// In the order in which the incarnations were last mentioned; the latest is last.
    of: Vec<(Incarnation, u64)>,
    /// The highest id of the incarnations that are no longer listed.
    others: Option<u64>,
}

impl Highest {
    /// The highest id of an incarnation. For an incarnation that may have been forgotten, the highest id of the forgotten ones.
    pub(crate) fn of(&self, incarnation: Incarnation) -> Option<u64> {
        self.of.iter().find(|(of, _)| *of == incarnation).map(|(_, id)| *id).or(self.others)
    }

    pub(crate) fn raise(&mut self, incarnation: Incarnation, id: u64) {
        let id = self.of(incarnation).map_or(id, |known| known.max(id));
        self.of.retain(|(of, _)| *of != incarnation);
        if self.of.len() == MOST_IDS {
            let (_, forgotten) = self.of.remove(0);
            self.others = self.others.max(Some(forgotten));
        }
        self.of.push((incarnation, id));
    }
}

/// Changes of incarnations that no pass has reached.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// In the order in which the incarnations were last mentioned; the latest is last.
    of: Vec<(Incarnation, Vec<Change>)>,
    /// The changes that found no room.
    lost: Highest,
}

impl Ahead {
    pub(crate) fn push(&mut self, incarnation: Incarnation, change: &Change) {
        let known = self.of.iter().position(|(of, _)| *of == incarnation);
        let (_, mut changes) = known.map_or((incarnation, Vec::new()), |index| self.of.remove(index));
        if self.of.len() == MOST_LIVES {
            let (forgotten, changes) = self.of.remove(0);
            for change in &changes {
                self.lost.raise(forgotten, change.id);
            }
        }
        if changes.len() < MOST_AHEAD {
            changes.push(change.clone());
        } else {
            self.lost.raise(incarnation, change.id);
        }
        self.of.push((incarnation, changes));
    }

    /// Takes the changes of an incarnation that is followed from now on, and the highest id that found no room.
    pub(crate) fn take(&mut self, incarnation: Incarnation) -> (Vec<Change>, Option<u64>) {
        let known = self.of.iter().position(|(of, _)| *of == incarnation);
        let changes = known.map(|index| self.of.remove(index).1).unwrap_or_default();
        (changes, self.lost.of(incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Subject};

    fn change(id: u64) -> Change {
        Change { id, salt: 0, subject: Subject::All, cause: Cause::default() }
    }

    #[test]
    fn one_that_floods_costs_no_other_anything() {
        let mut ahead = Ahead::default();
        for id in 0..10 * MOST_AHEAD as u64 {
            ahead.push(Incarnation(1), &change(1_000_000 + id));
        }
        ahead.push(Incarnation(2), &change(5));
        assert_eq!(ahead.take(Incarnation(2)), (vec![change(5)], None));
        let (changes, lost) = ahead.take(Incarnation(1));
        assert_eq!((changes.len(), lost), (MOST_AHEAD, Some(1_000_000 + 10 * MOST_AHEAD as u64 - 1)));
    }

    #[test]
    fn what_is_forgotten_counts_for_all_that_may_be_meant() {
        let mut ahead = Ahead::default();
        for life in 0..=MOST_LIVES as u64 {
            ahead.push(Incarnation(life), &change(100 + life));
        }
        assert_eq!(ahead.take(Incarnation(0)), (vec![], Some(100)), "the one heard of first");
        assert_eq!(ahead.take(Incarnation(1)).1, None);
        let mut highest = Highest::default();
        for life in 0..=MOST_IDS as u64 {
            highest.raise(Incarnation(life), 500 - life);
        }
        assert_eq!(highest.of(Incarnation(0)), Some(500));
        assert_eq!(highest.of(Incarnation(1)), Some(499));
        assert_eq!(highest.of(Incarnation(77)), Some(500), "never heard of, or forgotten");
        highest.raise(Incarnation(0), 3);
        assert_eq!(highest.of(Incarnation(0)), Some(500));
    }
}
