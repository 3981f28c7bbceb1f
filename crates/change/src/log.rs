//! The change log as its reader sees it.

use std::sync::Arc;

use crate::{Incarnation, Lineage, Snapshot, TraceContext};

/// A committed change or a requested invalidation. `S` is the subject: what the change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<S> {
    /// Orders changes against snapshots: the id of the transaction in PostgreSQL, the number of the change in SQLite.
    pub id: u64,
    /// A random number that distinguishes this change from one with the same id in another life of the database.
    pub salt: u64,
    /// What the change touches.
    pub subject: S,
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

/// What one pass over the change log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch<S> {
    /// The snapshot that the pass saw.
    pub snapshot: Snapshot,
    /// The incarnation of the database.
    pub incarnation: Incarnation,
    /// The lineage of that incarnation; `None` if no start of a database server makes an incarnation.
    pub lineage: Option<Lineage>,
    /// The changes since the previous pass.
    pub changes: Changes<S>,
}

/// The new changes in the change log: requested invalidations, then changes with a version in the order of their versions, so
/// that the versions of each key rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes<S> {
    /// Every change that this pass sees and the previous one did not.
    Complete(Vec<Change<S>>),
    /// Anything may have changed: there is no previous pass, or there are too many changes since, or some of them were pruned.
    Window {
        /// `changes` holds every visible change from this id on. The id is never below that of a pruned change.
        from: u64,
        /// Those changes.
        changes: Vec<Change<S>>,
    },
    /// The log misses changes, for this reason. No copy can be proven fresh until the cause is fixed.
    Incomplete(Arc<str>),
}

/// Whether the change log has a named change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// The log has the change: this life of the database has the commit.
    Here,
    /// The log reaches back that far and does not have the change.
    Unknown,
    /// The log may have pruned changes of that age.
    Pruned,
}

/// What the change log says about named changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The incarnation of the database.
    pub incarnation: Incarnation,
    /// The answer for each named change, in the order of the question.
    pub changes: Vec<Recalled>,
}

impl<S> Change<S> {
    /// The same change with its subject in other terms.
    pub fn map<T>(self, subject: impl FnOnce(S) -> T) -> Change<T> {
        let Self { id, salt, subject: of, cause } = self;
        Change { id, salt, subject: subject(of), cause }
    }
}

impl<S> LogBatch<S> {
    /// The same batch with the subject of every change in other terms.
    pub fn map<T>(self, mut subject: impl FnMut(S) -> T) -> LogBatch<T> {
        let mut each = |changes: Vec<Change<S>>| changes.into_iter().map(|change| change.map(&mut subject)).collect();
        let Self { snapshot, incarnation, lineage, changes } = self;
        let changes = match changes {
            Changes::Complete(changes) => Changes::Complete(each(changes)),
            Changes::Window { from, changes } => Changes::Window { from, changes: each(changes) },
            Changes::Incomplete(why) => Changes::Incomplete(why),
        };
        LogBatch { snapshot, incarnation, lineage, changes }
    }
}
