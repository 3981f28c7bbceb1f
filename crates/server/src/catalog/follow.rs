//! The change log of the database, as the cache follows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_cache::{self as cache, ChangeLog};
use larder_change::{Incarnation, Recall, Snapshot, Witness};
use larder_storage::{Changes, LogBatch, ProductRepository as _, Repository};

use super::{
    Catalog,
    subject::of_copies,
    watch::{Hub, Step},
};

/// The change log of a repository, as the cache follows it. The hub hands what it reads on to the watchers.
pub struct Log {
    repository: Arc<Repository>,
    hub: Arc<Hub>,
    /// Whether the last pass found the log incomplete.
    incomplete: AtomicBool,
}

impl Catalog {
    /// The change log, for the cache to follow.
    pub fn log(&self) -> Log {
        Log { repository: Arc::clone(&self.repository), hub: Arc::clone(&self.hub), incomplete: AtomicBool::new(false) }
    }
}

impl ChangeLog for Log {
    async fn pass(&self, since: Option<(&Snapshot, Incarnation)>, limit: u32) -> Result<cache::LogBatch, String> {
        let pass = self.repository.pass(since, limit).await.map_err(|error| error.to_string())?;
        self.tell_watchers(since, &pass);
        Ok(pass.map(of_copies))
    }

    async fn recall(&self, changes: &[Witness]) -> Result<Recall, String> {
        self.repository.recall(changes).await.map_err(|error| error.to_string())
    }

    async fn changed(&self, at_most: Duration) {
        self.repository.changed(at_most).await;
    }
}

impl Log {
    /// Hands a pass that found something new on to the watchers. They are told to read again when the log becomes incomplete, and
    /// once more when it is complete again.
    fn tell_watchers(&self, since: Option<(&Snapshot, Incarnation)>, pass: &LogBatch) {
        let LogBatch { snapshot, incarnation, changes, .. } = pass;
        let incomplete = matches!(changes, Changes::Incomplete(_));
        let was_incomplete = self.incomplete.swap(incomplete, Ordering::Relaxed);
        let repeated = incomplete && was_incomplete;
        let unchanged = since.is_some_and(|(since, of)| since == snapshot && of == *incarnation);
        if !self.hub.watched() || repeated || unchanged {
            return;
        }
        let changes = match changes {
            Changes::Complete(changes) => Some(changes.clone()),
            Changes::Window { .. } | Changes::Incomplete(_) => None,
        };
        let since = since.map(|(since, _)| since.clone());
        self.hub.tell(Step { since, to: snapshot.clone(), incarnation: *incarnation, changes });
    }
}
