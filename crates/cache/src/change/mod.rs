//! Changes, as the cache learns them.

pub(crate) mod term;

pub use term::{ANY, Term};

use std::sync::Arc;

/// A committed change or a requested invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Orders changes against snapshots.
    pub id: u64,
    /// Chance. It tells this change from one of the same id in another life of the database.
    pub salt: u64,
    /// What it touches.
    pub subject: Subject,
}

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The entry of a key, and every list that depends on one of the terms or on any change at all.
    Entry {
        /// The entry's key.
        key: String,
        /// The version that the change gave to the key: above every earlier one of it, also when the entry is gone now.
        version: i64,
        /// What lists may depend on.
        terms: Vec<String>,
    },
    /// The entry of a key alone.
    Key(String),
    /// Every entry that has a [`Term`](crate::Term), and every list.
    Term(String),
    /// Every entry whose key matches a [`Glob`](crate::Glob); one that cannot be read counts as [`All`](Self::All).
    Pattern(String),
    /// Every entry.
    All,
}

/// Which changes a statement could see: change `id` if it is below `xmax` and not one of `in_progress`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every change below it was seen.
    pub xmin: u64,
    /// No change at or above it was seen.
    pub xmax: u64,
    /// Changes in between that were not seen, in rising order.
    pub in_progress: Vec<u64>,
    /// The salt of the newest change seen, in a database that a restored copy gives its incarnation back, and whose changes
    /// have one order. There copies and tokens are of this life only if their [`Witness`] is. `None` elsewhere.
    pub salt: Option<u64>,
}

/// A change by its id and salt. In a database whose changes have one order, whoever has that very change has every one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Witness {
    /// Its id.
    pub id: u64,
    /// Its salt.
    pub salt: u64,
}

/// What the change log says of a change that somebody names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// It is there.
    Here,
    /// The log tells what is that old, and that change is not there.
    Unknown,
    /// Changes that old may have been pruned.
    Pruned,
}

/// What the change log told of some changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Of which database.
    pub incarnation: Incarnation,
    /// Of each, in the order in which they were named.
    pub changes: Vec<Recalled>,
}

impl Snapshot {
    /// The newest change seen, where that one stands for all before it.
    pub fn witness(&self) -> Option<Witness> {
        self.salt.map(|salt| Witness { id: self.xmax.saturating_sub(1), salt })
    }

    /// Whether a change was seen.
    pub fn sees(&self, id: u64) -> bool {
        id < self.xmin || (id < self.xmax && self.in_progress.binary_search(&id).is_err())
    }

    /// Whether it saw everything that another one saw.
    pub fn covers(&self, other: &Self) -> bool {
        let unseen = |id: u64| other.in_progress.binary_search(&id).is_ok();
        let above = other.in_progress.iter().filter(|&&id| id >= self.xmax).count() as u64;
        above >= other.xmax.saturating_sub(self.xmax)
            && self.in_progress.iter().take_while(|&&id| id < other.xmax).all(|&id| unseen(id))
    }
}

/// Which life of the database this is: change ids of one mean nothing in another. It may be that of a lost life only in a database
/// whose snapshots have a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// What one look at the change log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// What it could see.
    pub snapshot: Snapshot,
    /// Of which database.
    pub incarnation: Incarnation,
    /// What is new since the pass before.
    pub changes: Changes,
}

/// What is new in the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Every change that this pass sees and the one before did not.
    Complete(Vec<Change>),
    /// Anything may have changed.
    Window {
        /// Every change from this id on that the pass sees is told.
        from: u64,
        /// Those changes.
        changes: Vec<Change>,
    },
    /// The log does not tell of every change, for this reason. Nothing can be known of copies until that has been put right.
    Incomplete(Arc<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(xmin: u64, xmax: u64, in_progress: &[u64]) -> Snapshot {
        Snapshot { xmin, xmax, in_progress: in_progress.to_vec(), salt: None }
    }

    #[test]
    fn a_snapshot_covers_what_it_sees_all_of() {
        let snapshots = [
            snapshot(5, 5, &[]),
            snapshot(5, 8, &[5]),
            snapshot(5, 8, &[5, 6]),
            snapshot(6, 8, &[6]),
            snapshot(8, 8, &[]),
            snapshot(5, 9, &[5, 8]),
            snapshot(5, 7, &[5]),
            snapshot(7, 10, &[7, 9]),
        ];
        for one in &snapshots {
            for other in &snapshots {
                let expected = (0..12).all(|id| one.sees(id) || !other.sees(id));
                assert_eq!(one.covers(other), expected, "{one:?} covers {other:?}");
            }
        }
    }
}
