//! The change log of the database, told to the cache.

use std::{sync::Arc, time::Duration};

use larder_cache as cache;
use larder_storage::{self as storage, ProductRepository as _, Repository};

use super::product_name;
use crate::contract::{category_term, tag_term};

/// The change log of a repository, as the cache follows it.
pub struct Log(pub Arc<Repository>);

impl cache::ChangeLog for Log {
    async fn pass(
        &self,
        since: Option<(&cache::Snapshot, cache::Incarnation)>,
        limit: u32,
    ) -> Result<cache::Pass, String> {
        let since = since.map(|(snapshot, incarnation)| {
            let cache::Snapshot { xmin, xmax, in_progress } = snapshot.clone();
            (storage::Snapshot { xmin, xmax, in_progress }, storage::Incarnation(incarnation.0))
        });
        let since = since.as_ref().map(|(snapshot, incarnation)| (snapshot, *incarnation));
        let pass = self.0.pass(since, limit).await.map_err(|error| error.to_string())?;
        let storage::Snapshot { xmin, xmax, in_progress } = pass.snapshot;
        Ok(cache::Pass {
            snapshot: cache::Snapshot { xmin, xmax, in_progress },
            incarnation: cache::Incarnation(pass.incarnation.0),
            changes: match pass.changes {
                storage::PassChanges::Complete(changes) => Some(changes.into_iter().map(change).collect()),
                storage::PassChanges::Window { .. } => None,
            },
        })
    }

    async fn changed(&self, at_most: Duration) {
        self.0.changed(at_most).await;
    }
}

/// A change of the database in the words of the cache.
pub(super) fn change(change: storage::Change) -> cache::Change {
    let subject = match change.subject {
        storage::Subject::Put { key, terms, .. } | storage::Subject::Delete { key, terms, .. } => {
            let term = |term| match term {
                storage::Term::Category(category) => category_term(&category),
                storage::Term::Tag(tag) => tag_term(&tag),
            };
            cache::Subject::Entry { key: product_name(&key), terms: terms.into_iter().map(term).collect() }
        }
        // The name of a copy, as replies show it, or else the id of a product, which never holds a colon.
        storage::Subject::Key(key) if key.contains(':') => cache::Subject::Key(key),
        storage::Subject::Key(id) => cache::Subject::Key(product_name(&id)),
        storage::Subject::Tag(tag) => cache::Subject::Tag(tag),
        // A pattern touches some keys; everything is more, and as right.
        storage::Subject::Pattern(_) | storage::Subject::All => cache::Subject::All,
    };
    cache::Change { id: change.id, subject }
}
