//! Transactions that write.

use std::ops::{Deref, DerefMut};

use super::{
    pool::{Connections, Lease},
    session::Session,
};
use crate::{StorageError, driver};

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Transaction<'a> {
    connections: &'a Connections,
    lease: Lease,
}

impl<'a> Transaction<'a> {
    /// Begins one, on another connection when one turns out to be lost: nothing has been done by then.
    pub(super) async fn begin(connections: &'a Connections) -> Result<Self, StorageError> {
        let mut attempts = connections.attempts();
        loop {
            let mut lease = connections.for_write().await.map_err(driver::sort)?;
            match lease.begin().await {
                Ok(()) => return Ok(Self { connections, lease }),
                Err(error) if attempts > 1 && driver::no_connection(&error) => attempts -= 1,
                Err(error) => return Err(driver::sort(error)),
            }
        }
    }

    /// Commits. When the answer does not come in time, the connection is closed, and nobody knows what has become of the commit.
    pub(super) async fn commit(mut self) -> Result<(), StorageError> {
        let committed = self.lease.commit().await.map_err(driver::sort_commit);
        if matches!(committed, Ok(()) | Err(StorageError::UnknownOutcome(_))) {
            self.connections.news.committed();
        }
        committed
    }

    /// Takes everything back.
    pub(super) async fn rollback(mut self) -> Result<(), StorageError> {
        self.lease.rollback().await.map_err(driver::sort)
    }
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.lease
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.lease
    }
}
