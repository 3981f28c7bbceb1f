//! The change log of the database, as the cache follows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_cache as cache;
use larder_storage::{self as storage, ProductRepository as _, Repository};

use super::{
    Catalog,
    convert::{change, to_cache, to_storage},
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

impl cache::ChangeLog for Log {
    async fn pass(
        &self,
        since: Option<(&cache::Snapshot, cache::Incarnation)>,
        limit: u32,
    ) -> Result<cache::LogBatch, String> {
        let of = since.map(|(snapshot, incarnation)| (to_storage(snapshot), storage::Incarnation(incarnation.0)));
        let asked = of.as_ref().map(|(snapshot, incarnation)| (snapshot, *incarnation));
        let pass = self.repository.pass(asked, limit).await.map_err(|error| error.to_string())?;
        let (snapshot, incarnation) = (to_cache(pass.snapshot), cache::Incarnation(pass.incarnation.0));
        // Watchers are told to read again when the log becomes incomplete, and once more when it is complete again.
        let incomplete = matches!(pass.changes, storage::PassChanges::Incomplete(_));
        let was_incomplete = self.incomplete.swap(incomplete, Ordering::Relaxed);
        let repeated = incomplete && was_incomplete;
        if self.hub.watched() && !repeated && since.is_none_or(|(since, of)| *since != snapshot || of != incarnation) {
            let changes = match &pass.changes {
                storage::PassChanges::Complete(changes) => Some(changes.clone()),
                storage::PassChanges::Window { .. } | storage::PassChanges::Incomplete(_) => None,
            };
            let since = since.map(|(since, _)| since.clone());
            self.hub.tell(Step { since, to: snapshot.clone(), incarnation, changes });
        }
        Ok(cache::LogBatch {
            snapshot,
            incarnation,
            lineage: pass.lineage.map(cache::Lineage),
            changes: match pass.changes {
                storage::PassChanges::Complete(changes) => {
                    cache::Changes::Complete(changes.into_iter().map(change).collect())
                }
                storage::PassChanges::Window { from, changes } => {
                    cache::Changes::Window { from, changes: changes.into_iter().map(change).collect() }
                }
                storage::PassChanges::Incomplete(why) => cache::Changes::Incomplete(why.into()),
            },
        })
    }

    async fn recall(&self, changes: &[cache::Witness]) -> Result<cache::Recall, String> {
        let asked: Vec<_> = changes.iter().map(|witness| (witness.id, witness.salt)).collect();
        let recall = self.repository.recall(&asked).await.map_err(|error| error.to_string())?;
        let told = recall.changes.into_iter().map(|recalled| match recalled {
            storage::Recalled::Here => cache::Recalled::Here,
            storage::Recalled::Unknown => cache::Recalled::Unknown,
            storage::Recalled::Pruned => cache::Recalled::Pruned,
        });
        Ok(cache::Recall { incarnation: cache::Incarnation(recall.incarnation.0), changes: told.collect() })
    }

    async fn changed(&self, at_most: Duration) {
        self.repository.changed(at_most).await;
    }
}
