//! The change log of the database, told to the cache.

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
    product_name,
    watch::{Hub, Step},
};

/// The change log of a repository, as the cache follows it. Those who watch products are told of what it reads.
pub struct Log {
    pub(super) repository: Arc<Repository>,
    pub(super) hub: Arc<Hub>,
    /// Whether the last look found that the log does not tell of every change.
    pub(super) incomplete: AtomicBool,
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
        // Who watches is told to read anew when the log begins to be incomplete, and again when it no longer is.
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

/// A snapshot in the words of the cache.
pub(super) fn to_cache(snapshot: storage::Snapshot) -> cache::Snapshot {
    let storage::Snapshot { xmin, xmax, in_progress, salt } = snapshot;
    cache::Snapshot { xmin, xmax, in_progress, salt }
}

/// A snapshot in the words of the database.
pub(super) fn to_storage(snapshot: &cache::Snapshot) -> storage::Snapshot {
    let cache::Snapshot { xmin, xmax, in_progress, salt } = snapshot.clone();
    storage::Snapshot { xmin, xmax, in_progress, salt }
}

/// The name of the copy that an invalidation of a key means: the key is that, as replies show it, or else the id of a product,
/// which never holds a colon.
pub(super) fn key_name(key: String) -> String {
    if key.contains(':') { key } else { product_name(&key) }
}

/// The name of a category or a tag among the terms.
pub(super) fn term_name(term: &storage::Term) -> String {
    match term {
        storage::Term::Category(category) => cache::Term::Category(category).to_string(),
        storage::Term::Tag(tag) => cache::Term::Tag(tag).to_string(),
    }
}

/// A change of the database in the words of the cache.
pub(super) fn change(change: storage::Change) -> cache::Change {
    let subject = match change.subject {
        storage::Subject::Put { key, version, terms } | storage::Subject::Delete { key, version, terms } => {
            cache::Subject::Entry { key: product_name(&key), version, terms: terms.iter().map(term_name).collect() }
        }
        storage::Subject::Key(key) => cache::Subject::Key(key_name(key)),
        storage::Subject::Term(term) => cache::Subject::Term(term_name(&term)),
        storage::Subject::Pattern(pattern) => cache::Subject::Pattern(pattern),
        storage::Subject::All => cache::Subject::All,
    };
    cache::Change { id: change.id, salt: change.salt, subject }
}
