//! Loading keys before anybody asks for them.

use std::{future::Future, sync::Arc};

use super::{Key, Loaded, ReadPath, loader::Purpose, single_flight::Target};
use crate::{config::Policy, error::LoadError, l1::Value};

impl<V: Value> ReadPath<V> {
    /// Loads the named items into L1, except those that L1 can serve. `load` receives the indices of the names to load. Nothing is
    /// loaded while the database is unavailable or other loads wait.
    pub(crate) async fn load_ahead<F, Fut>(self: &Arc<Self>, names: &[Arc<str>], load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let clock = self.read_clock();
        let absent: Vec<usize> = (0..names.len())
            .filter(|&index| self.l1.get(&names[index]).is_none_or(|entry| !self.may_serve(&entry, clock)))
            .collect();
        if self.proven() && self.turns.waiting() == 0 && self.turns.free() > 0 && !absent.is_empty() {
            let targets: Vec<Target> =
                absent.into_iter().map(|index| self.target(index, &Key::item(&*names[index]))).collect();
            let (waits, guard) = self.single_flight.join(targets, self.clock.now(), |_| true);
            self.counters.prefetched.add(guard.len() as u64);
            if !guard.is_empty() {
                self.start(guard, Policy::Item, Purpose::Miss, load);
            }
            for wait in waits {
                // The next reader of the key learns of a failure.
                let _ = wait.await;
            }
        }
        self.prefetch.ended(names);
    }
}
