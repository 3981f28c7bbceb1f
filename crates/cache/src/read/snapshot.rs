//! What replies need whose copies must all be of one snapshot of the database.
//!
//! Copies that were in hand before a look at the change log began, and that still stand when it has been learned, are all of
//! that look's snapshot: each shows every change that the look saw, or it would not stand, and none that it did not see, for
//! it was read before.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{Cache, Entry, Found, LoadError, Loaded, Policy, ReadError, ReadOptions, Tier, Value};

impl<V: Value> Cache<V> {
    /// Whether nothing that touches a copy was learned since before it was read, and it is of the database that is followed.
    /// When that becomes another one, every copy is touched.
    pub fn still_stands(&self, entry: &Entry<V>) -> bool {
        !entry.foreign && entry.stands(self.validity()) && self.validity().view().is_some()
    }

    /// Loads past every tier: what one query returns is handed over as it is, and kept nowhere. Counts as a load among the
    /// others, with their limits.
    pub async fn load_apart<F, Fut>(
        &self,
        policy: Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Vec<Found<V>>, ReadError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if !self.shared().admission.has_room() {
            self.counters().refused.one();
            return Err(LoadError::Overloaded.into());
        }
        let cache = self.clone();
        // Where connections to the database live, as with every load.
        let done = self.shared().runtime.spawn(async move {
            // Nothing is stored under these names, so that what is captured for them says nothing.
            let stamp = cache.validity().capture(cache.validity().stripes("", None));
            let began = cache.clock().now();
            let loaded = cache.run(Vec::new(), &|_: Vec<usize>| load()).await?;
            let (_, foreign) = cache.place(loaded.incarnation);
            let unproven = loaded.incarnation.is_none();
            let found = loaded.values.into_iter().map(|value| {
                let life = cache.life(policy, value.is_some(), Duration::ZERO);
                let entry = Arc::new(Entry::new("", value, stamp, began, life, Tier::Database, foreign));
                Found { entry, tier: Tier::Database, stale: foreign }
            });
            Ok::<_, LoadError>((found.collect::<Vec<_>>(), unproven))
        });
        let (found, unproven) = match done.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                self.counters().load_errors.one();
                return Err(error.into());
            }
            Err(_) => return Err(LoadError::Lost.into()),
        };
        // What a standby returned cannot be judged here, where it is not known by which key.
        if unproven || (found.iter().any(|found| found.stale) && !self.recently_proven(policy, true, options)) {
            return Err(ReadError::NoPass);
        }
        Ok(found)
    }
}
