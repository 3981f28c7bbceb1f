//! The vocabulary of changes: what was committed, in which order, and to which incarnation of the database.

mod term;

pub use term::{ANY, Term};

use crate::trace::TraceContext;

/// A committed change or a requested invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Orders changes against snapshots.
    pub id: u64,
    /// A random number that distinguishes this change from one with the same id in another life of the database.
    pub salt: u64,
    /// What the change touches.
    pub subject: Subject,
    /// Who made the change, and when.
    pub cause: Cause,
}

/// Who made a change, and when, as far as that is known. Nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cause {
    /// The span of the write, if the write is traced.
    pub trace: Option<TraceContext>,
    /// When the change was logged, shortly before its commit: microseconds since 1970, by the clock of the database.
    pub logged_micros: Option<u64>,
}

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The entry of a key, and every list that depends on one of the terms or on [`ANY`].
    Entry {
        /// The key of the entry.
        key: String,
        /// The version that the change gave the key: above every earlier version of the key, even if the change deleted the
        /// entry.
        version: i64,
        /// The old and new terms of the entry, on which lists may depend.
        terms: Vec<String>,
    },
    /// The entry of a key alone.
    Key(String),
    /// Every entry that has a [`Term`], and every list.
    Term(String),
    /// Every entry whose key matches a [`Glob`](crate::Glob). A pattern that cannot be parsed counts as [`All`](Self::All).
    Pattern(String),
    /// Every entry.
    All,
}

/// The changes that a statement could see: change `id` is visible if it is below `xmax` and not in `in_progress`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every change below this id was visible.
    pub xmin: u64,
    /// No change at or above this id was visible.
    pub xmax: u64,
    /// The invisible changes in between, in ascending order.
    pub in_progress: Vec<u64>,
    /// The salt of the newest visible change, in a database whose changes are totally ordered and whose backups restore the
    /// incarnation. There, a copy or a token belongs to this life only if its [`Witness`] does. `None` in other databases.
    pub salt: Option<u64>,
}

/// A change, named by its id and salt. Where changes are totally ordered, a database that has this change also has every
/// earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Witness {
    /// The id of the change.
    pub id: u64,
    /// The salt of the change.
    pub salt: u64,
}

/// A token names a commit, so that a later read can demand the state of that commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The incarnation of the database that was written to.
    pub incarnation: Incarnation,
    /// The id of a change of the commit: a reader that sees the change sees the commit.
    pub id: u64,
    /// The salt of that change: another life of the database has the commit only if it has a change with this id and salt.
    pub salt: u64,
}

/// The incarnation of the database. Change ids of one incarnation mean nothing in another. Two lives share an incarnation only
/// in databases whose snapshots have a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// What two incarnations have in common when the database server was only started anew in between, perhaps over an earlier copy of
/// its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lineage(pub u64);

impl Snapshot {
    /// The newest visible change, where it implies every earlier one.
    pub fn witness(&self) -> Option<Witness> {
        self.salt.map(|salt| Witness { id: self.xmax.saturating_sub(1), salt })
    }

    /// Whether a change was visible.
    pub fn sees(&self, id: u64) -> bool {
        id < self.xmin || (id < self.xmax && self.in_progress.binary_search(&id).is_err())
    }

    /// Whether every change visible to `other` was visible to this snapshot.
    pub fn covers(&self, other: &Self) -> bool {
        let unseen = |id: u64| other.in_progress.binary_search(&id).is_ok();
        let above = other.in_progress.iter().filter(|&&id| id >= self.xmax).count() as u64;
        above >= other.xmax.saturating_sub(self.xmax)
            && self.in_progress.iter().take_while(|&&id| id < other.xmax).all(|&id| unseen(id))
    }
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
