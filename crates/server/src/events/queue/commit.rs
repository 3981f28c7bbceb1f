//! Commits the invalidations of events, however long the database takes.

use larder_storage::StorageError;
use tokio::{sync::watch, time::sleep};

use super::pause::Pause;
use crate::{
    catalog::{Catalog, Invalidation},
    events::drained,
};

/// Commits.
pub(super) struct Committing {
    catalog: Catalog,
    pause: Pause,
    /// Whether it was logged that the database is away.
    reported: bool,
}

/// The database works, and refuses the commit.
pub(super) struct Refused(pub(super) StorageError);

impl Committing {
    pub(super) fn new(catalog: Catalog, seed: u64) -> Self {
        Self { catalog, pause: Pause::new(seed), reported: false }
    }

    /// Commits in one transaction, and retries while the database is away. `None` when the server drains before.
    pub(super) async fn commit(
        &mut self,
        drops: Vec<Invalidation>,
        draining: &watch::Receiver<bool>,
    ) -> Option<Result<(), Refused>> {
        loop {
            let away = match self.try_commit(drops.clone()).await {
                Ok(done) => {
                    self.pause.reset();
                    if std::mem::take(&mut self.reported) {
                        tracing::info!("events are taken up again");
                    }
                    return Some(done);
                }
                Err(away) => away,
            };
            if !std::mem::replace(&mut self.reported, true) {
                tracing::warn!(error = %away, "events wait for the database");
            }
            tokio::select! {
                () = drained(draining.clone()) => return None,
                () = sleep(self.pause.next()) => {}
            }
        }
    }

    /// One attempt; the outer error means that the database is away. An empty transaction tells whether it is, or whether it
    /// refuses this commit.
    async fn try_commit(&self, drops: Vec<Invalidation>) -> Result<Result<(), Refused>, StorageError> {
        match self.catalog.invalidate(drops).await {
            Ok(_) => Ok(Ok(())),
            Err(
                error @ (StorageError::Database(_)
                | StorageError::Schema(_)
                | StorageError::Unreadable(_)
                | StorageError::UnreadableReply(_)
                | StorageError::Url(_)),
            ) => {
                self.catalog.invalidate(Vec::new()).await?;
                Ok(Err(Refused(error)))
            }
            Err(away) => Err(away),
        }
    }
}
