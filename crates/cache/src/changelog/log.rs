//! The interface of a change log.

use std::{sync::Arc, time::Duration};

use crate::change::{Change, Incarnation, Lineage, Snapshot, Witness};

/// A log of committed changes.
pub trait ChangeLog: Send + Sync + 'static {
    /// Reads what has been committed since the snapshot `since`. Without `since`, in another incarnation, or when there are more
    /// than `limit` changes, anything may have changed, and the batch holds the recent changes as far as possible. The error is
    /// for logs.
    fn pass(
        &self,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> impl Future<Output = Result<LogBatch, String>> + Send;

    /// Reports whether the log has each of the named changes. The error is for logs.
    fn recall(&self, changes: &[Witness]) -> impl Future<Output = Result<Recall, String>> + Send;

    /// Waits until the log may hold new changes, at most `at_most`. The future may be dropped and the method called again at any
    /// time, since a pass follows in every case.
    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;
}

/// What one pass over the change log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// The snapshot that the pass saw.
    pub snapshot: Snapshot,
    /// The incarnation of the database.
    pub incarnation: Incarnation,
    /// The lineage of that incarnation; `None` if copies of one incarnation never outlive it.
    pub lineage: Option<Lineage>,
    /// The changes since the previous pass.
    pub changes: Changes,
}

/// The new changes in the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Every change that this pass sees and the previous one did not.
    Complete(Vec<Change>),
    /// Anything may have changed.
    Window {
        /// `changes` holds every visible change from this id on.
        from: u64,
        /// Those changes.
        changes: Vec<Change>,
    },
    /// The log misses changes, for this reason. No copy can be proven fresh until the cause is fixed.
    Incomplete(Arc<str>),
}

/// Whether the change log has a named change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// The log has the change.
    Here,
    /// The log reaches back that far and does not have the change.
    Unknown,
    /// The log may have pruned changes of that age.
    Pruned,
}

/// The answer to [`ChangeLog::recall`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The incarnation of the database.
    pub incarnation: Incarnation,
    /// The answer for each named change, in the order of the question.
    pub changes: Vec<Recalled>,
}
