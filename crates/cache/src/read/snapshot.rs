//! Replies whose copies must all belong to one snapshot of the database.
//!
//! Copies that were in hand before a pass over the change log began, and that are still valid once its changes are applied, all
//! belong to the snapshot of that pass: each shows every change that the pass saw, or the copy would be invalid, and no change that
//! the pass did not see, since the copy was read before.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Found, Loaded, ReadOptions, ReadPath};
use crate::{
    config::Policy,
    error::{LoadError, ReadError},
    l1::{Entry, NewEntry, Provenance, Tier, Value},
    trace,
};

impl<V: Value> ReadPath<V> {
    /// Whether a copy is valid and belongs to the followed database. When another database is followed, every copy is touched.
    pub(crate) fn still_stands(&self, entry: &Entry<V>) -> bool {
        !entry.is_foreign() && entry.stands(&self.validity) && self.validity.view().is_some()
    }

    /// Loads past every tier: the result of one query is returned and not stored. The load counts towards the limits of all loads.
    pub(crate) async fn load_apart<F, Fut>(
        self: &Arc<Self>,
        policy: Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Vec<Found<V>>, ReadError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if !self.turns.have_room() {
            self.counters.refused.one();
            return Err(LoadError::Overloaded.into());
        }
        let reads = Arc::clone(self);
        // On the runtime that owns the connections to the database, like every load.
        let work = async move { reads.run_apart(policy, &load).await };
        let mut running = JoinSet::new();
        // Ends with its reader, because nobody else gets the result.
        running.spawn_on(trace::current().carry(work), &self.runtime);
        let (found, unproven) = match running.join_next().await {
            Some(Ok(Ok(found))) => found,
            Some(Ok(Err(error))) => {
                self.counters.load_errors.one();
                return Err(error.into());
            }
            Some(Err(_)) | None => return Err(LoadError::Lost.into()),
        };
        // The values of a standby cannot be judged here, since their keys are unknown.
        if unproven || (found.iter().any(|found| found.stale) && !self.value_recently_proven(policy, options)) {
            return Err(ReadError::NoPass);
        }
        Ok(found)
    }

    /// Returns the loaded values, and whether their database could not tell its incarnation.
    async fn run_apart<F, Fut>(&self, policy: Policy, load: &F) -> Result<(Vec<Found<V>>, bool), LoadError>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        // Nothing is stored under the empty name, so that its stamp has no meaning.
        let stamp = self.validity.stamp("", None);
        let began = self.clock.now();
        let loaded = self.run(Vec::new(), &|_: Vec<usize>| load(), &OnceLock::new()).await?;
        let (_, provenance) = self.place(loaded.incarnation);
        let found = loaded.values.into_iter().map(|value| {
            let expiry = self.expiry(policy, value.is_some(), Duration::ZERO);
            let (name, tier) = ("", Tier::Database);
            let entry = Arc::new(Entry::new(NewEntry { name, value, stamp, began, expiry, tier, provenance }));
            Found { entry, tier, stale: provenance == Provenance::Foreign }
        });
        Ok((found.collect(), loaded.incarnation.is_none()))
    }
}
