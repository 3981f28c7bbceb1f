//! The interface of a change log.

use std::time::Duration;

use larder_change::{Incarnation, Recall, Snapshot, Witness};

use crate::validity::LogBatch;

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
