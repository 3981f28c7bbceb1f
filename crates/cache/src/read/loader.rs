//! Loads from the database: their admission, and what becomes of their results.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use larder_change::Incarnation;
use tokio::time::{sleep, timeout};

use super::{
    Loaded, ReadPath,
    single_flight::{LoadGuard, Outcome, Target},
};
use crate::{
    config::Policy,
    error::LoadError,
    l1::{Entry, Expiry, NewEntry, Provenance, Tier, Value},
    stats::LoadOutcome,
    time::Moment,
    turns::TooMany,
    validity::{Depends, Origin},
};

/// How to load keys.
pub(super) struct LoadTask<F> {
    pub(super) policy: Policy,
    pub(super) purpose: Purpose,
    pub(super) load: F,
}

/// Why keys are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// No tier has a copy that may be served.
    Miss,
    /// The copy may be served, and is to be replaced.
    Refresh,
}

/// The result of a load, after L1 has taken it in.
pub(super) struct LoadedEntries<V> {
    /// By what other replicas judge the entries; `None` if the entries must not be stored anywhere else.
    pub(super) origin: Option<Origin>,
    /// The names of the keys, and their copies.
    pub(super) entries: Vec<(Box<str>, Arc<Entry<V>>)>,
}

/// Whether a copy may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// The copy may be stored.
    Allowed,
    /// The copy may not be stored.
    Denied,
}

/// How long a load goes on whose readers have all gone. A load that ends soon fills the cache, and a reader that tries again finds it
/// under way.
const UNREAD: Duration = Duration::from_millis(250);

impl<V: Value> ReadPath<V> {
    /// Waits for admission, loads, stores the valid copies in L1 and sends the result to all waiters. `None` if the load fails, or is
    /// given up because nobody waits for it.
    pub(super) async fn load<F, Fut>(&self, mut guard: LoadGuard<V>, task: &LoadTask<F>) -> Option<LoadedEntries<V>>
    where
        F: Fn(Vec<usize>) -> Fut + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let begun = OnceLock::new();
        let mut run = pin!(self.run(guard.indices().collect(), &task.load, &begun));
        let loaded = loop {
            tokio::select! {
                biased;
                // First of all: the load of a call that was refused must not begin.
                () = abandoned(&guard, &begun), if task.purpose == Purpose::Miss => match guard.give_up() {
                    Ok(()) => {
                        self.counters.abandoned.one();
                        return None;
                    }
                    Err(joined) => guard = joined,
                },
                loaded = &mut run => break loaded,
            }
        };
        match loaded {
            Ok(loaded) if loaded.incarnation.is_none() => {
                self.take_in_unproven(guard, task.policy, loaded);
                Some(LoadedEntries { origin: None, entries: Vec::new() })
            }
            Ok(loaded) => Some(self.take_in(guard, task.policy, loaded)),
            Err(error) => {
                if error == LoadError::Overloaded { &self.counters.refused } else { &self.counters.load_errors }.one();
                guard.fail(&error);
                None
            }
        }
    }

    /// Runs a load function, and notes when it has begun. A panic loses the load and has no other effect.
    pub(super) async fn run<F, Fut>(
        &self,
        indices: Vec<usize>,
        load: &F,
        begun: &OnceLock<Moment>,
    ) -> Result<Loaded<V>, LoadError>
    where
        F: Fn(Vec<usize>) -> Fut + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let counters = &self.counters;
        let work = async {
            let _turn = self.turns.turn().await.map_err(|TooMany| LoadError::Overloaded)?;
            self.breaker.admit(self.clock.now())?;
            counters.loads.one();
            let _ = begun.set(self.clock.now());
            AssertUnwindSafe(async { load(indices).await }).catch_unwind().await.unwrap_or(Err(LoadError::Lost))
        };
        let loaded = timeout(self.config.load_timeout, work).await;
        let Some(&begun) = begun.get() else { return loaded.unwrap_or(Err(LoadError::Overloaded)) };
        if !matches!(loaded, Err(_) | Ok(Err(LoadError::Timeout))) {
            self.breaker.answered();
        }
        let loaded = loaded.unwrap_or(Err(LoadError::Timeout));
        let outcome = match &loaded {
            Err(_) => LoadOutcome::Failed,
            Ok(loaded) if loaded.values.iter().any(Option::is_some) => LoadOutcome::Found,
            Ok(_) => LoadOutcome::NotFound,
        };
        counters.load_latency.record(outcome, self.clock.now().since(begun));
        loaded
    }

    /// Stores the loaded values in L1 and sends them to all waiters.
    fn take_in(&self, guard: LoadGuard<V>, policy: Policy, loaded: Loaded<V>) -> LoadedEntries<V> {
        let Loaded { values, incarnation, horizon, witness } = loaded;
        let (storage, provenance) = self.place(incarnation);
        let began = guard.began();
        let took = self.clock.now().since(began);
        let entries: Vec<_> = guard
            .targets()
            .zip(values)
            .map(|(Target { key, .. }, value)| {
                let expiry = self.expiry(policy, value.is_some(), took);
                let storage = match storage {
                    Storage::Allowed => self.l1_storage(policy, value.as_ref()),
                    Storage::Denied => Storage::Denied,
                };
                let (name, stamp, tier) = (&*key.name, key.stamp, Tier::Database);
                let entry = Entry::new(NewEntry { name, value, stamp, began, expiry, tier, provenance });
                (key.name.clone(), self.take_in_l1(entry, policy, storage))
            })
            .collect();
        guard.fulfil(entries.iter().map(|(_, entry)| Ok(Arc::clone(entry))));
        let incarnation = incarnation.filter(|_| storage == Storage::Allowed);
        let origin = incarnation.map(|incarnation| Origin { incarnation, horizon, version: 0, witness });
        LoadedEntries { origin, entries }
    }

    /// Sends on the result of a database that cannot tell its incarnation, such as a standby, which may lag arbitrarily. A value that
    /// no known change touches was right at the last pass over the change log, and may be served as stale as that pass is. Nothing
    /// is stored.
    fn take_in_unproven(&self, guard: LoadGuard<V>, policy: Policy, loaded: Loaded<V>) {
        let (began, horizon, witness) = (guard.began(), loaded.horizon, loaded.witness);
        let followed = self.validity.followed();
        let outcomes: Vec<Outcome<V>> = guard
            .targets()
            .zip(loaded.values)
            .map(|(target, value)| {
                let origin = followed.map(|incarnation| Origin { incarnation, horizon, version: 0, witness });
                if !origin.is_some_and(|origin| self.is_current(target, value.as_ref(), origin)) {
                    self.counters.load_errors.one();
                    return Err(LoadError::Unavailable(
                        "the database that answered is behind what is known here".into(),
                    ));
                }
                let expiry = self.expiry(policy, value.is_some(), Duration::ZERO);
                let (name, stamp, tier) = (target.name(), target.key.stamp, Tier::Database);
                let provenance = Provenance::Foreign;
                Ok(Arc::new(Entry::new(NewEntry { name, value, stamp, began, expiry, tier, provenance })))
            })
            .collect();
        guard.fulfil(outcomes);
    }

    /// Whether no known change touches a loaded value. The version of the value replaces the version of `origin`.
    fn is_current(&self, target: &Target, value: Option<&V>, origin: Origin) -> bool {
        let term = target.term.as_deref();
        let facts = value.map(Value::facts).unwrap_or_default();
        let terms = (value.is_some() && term.is_none()).then_some(&facts.terms[..]);
        let depends = Depends::of(target.name(), term, value.is_some());
        self.validity.frame_stands(target.name(), depends, &Origin { version: facts.version, ..origin }, terms)
    }

    /// Stores an entry in L1, if that is allowed and the entry is valid.
    pub(crate) fn take_in_l1(&self, mut entry: Entry<V>, policy: Policy, storage: Storage) -> Arc<Entry<V>> {
        if let (Policy::Item, Some(_)) = (policy, &entry.value) {
            entry.count_reads(self.prefetch.found(entry.name()));
        }
        entry.land(self.validity.newest_pass());
        let entry = Arc::new(entry);
        let stored = storage == Storage::Allowed && self.l1.store(&entry, &self.validity);
        if stored { &self.counters.sets } else { &self.counters.not_stored }.one();
        entry
    }

    /// Whether the result of a load may be stored, and whether it must be marked stale: a value from a database other than the
    /// followed one, or from one that cannot tell its incarnation, may be older than the staleness bound. Before the first pass over
    /// the change log, and while the log is incomplete, nothing is stored.
    pub(super) fn place(&self, incarnation: Option<Incarnation>) -> (Storage, Provenance) {
        let followed = self.validity.followed();
        let ours = followed.is_some() && followed == incarnation;
        let starting = self.validity.looked() == Moment::NEVER && incarnation.is_some();
        let storable = ours && self.validity.incomplete().is_none();
        (
            if storable { Storage::Allowed } else { Storage::Denied },
            if ours || starting { Provenance::Followed } else { Provenance::Foreign },
        )
    }

    /// Whether the policy of a value admits it to L1.
    pub(super) fn l1_storage(&self, policy: Policy, value: Option<&V>) -> Storage {
        let policies = self.policies.get();
        let policy = policies.of(policy, value.is_some());
        let admitted = policy.l1 && value.is_none_or(|value| value.bytes() <= policy.max_bytes);
        if admitted { Storage::Allowed } else { Storage::Denied }
    }

    /// The expiry of a copy whose load took `load`.
    pub(super) fn expiry(&self, policy: Policy, exists: bool, load: Duration) -> Expiry {
        let policies = self.policies.get();
        let policy = policies.of(policy, exists);
        Expiry::new(policy, self.jitter.shorten(policy.ttl, policy.jitter), load)
    }
}

/// Waits until nobody waits for a load: a load that has not begun is given up at once, one under way after [`UNREAD`].
async fn abandoned<V>(guard: &LoadGuard<V>, begun: &OnceLock<Moment>) {
    loop {
        guard.unread().await;
        if begun.get().is_none() {
            return;
        }
        sleep(UNREAD).await;
        if !guard.is_read() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::runtime::Handle;

    use super::*;
    use crate::{Cache, CacheConfig, Clock, Facts, Snapshot, validity::View};

    struct Nothing;

    impl Value for Nothing {
        fn bytes(&self) -> usize {
            0
        }

        fn has(&self, _: &str) -> bool {
            false
        }

        fn facts(&self) -> Facts {
            Facts::default()
        }

        fn encode(&self) -> Bytes {
            Bytes::new()
        }

        fn decode(_: Bytes, _: bool) -> Option<Self> {
            Some(Self)
        }
    }

    #[tokio::test]
    async fn between_two_databases_nothing_is_ours() {
        let cache: Cache<Nothing> = Cache::new(CacheConfig::default(), Clock::manual(), Handle::current(), 1);
        let (old, new) = (Incarnation(1), Incarnation(2));
        let reads = cache.reads();
        let place_of = |incarnation| {
            let (storage, provenance) = reads.place(incarnation);
            (storage == Storage::Allowed, provenance == Provenance::Foreign)
        };
        let place = |incarnation| place_of(Some(incarnation));
        assert_eq!((place(old), place_of(None)), ((false, false), (false, true)), "before the first pass");
        let publish = |incarnation| {
            let view = View { snapshot: Snapshot::default(), incarnation };
            reads.validity.publish(view, cache.clock().now());
        };
        publish(old);
        assert_eq!((place(old), place(new)), ((true, false), (false, true)));
        reads.validity.forget_view();
        assert_eq!((place(old), place(new)), ((false, true), (false, true)), "everything is being dropped");
        publish(new);
        assert_eq!((place(old), place(new)), ((false, true), (true, false)));
        let view = View { snapshot: Snapshot::default(), incarnation: new };
        reads.validity.publish_incomplete(view, cache.clock().now(), "no triggers".into());
        assert_eq!((place(new), place(old)), ((false, false), (false, true)), "an incomplete log vouches for no copy");
    }
}
