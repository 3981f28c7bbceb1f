//! Loads from the database: how they are run, and what becomes of what they bring.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    Cache, Incarnation, LoadError, Loaded, Moment, Policy, Tier,
    l1::expiry::Life,
    l1::{Entry, Value},
    read::read_through::Search,
    read::single_flight::LoadGuard,
    validity::history::{Depends, Origin},
};

/// What a load brought and L1 has taken in.
pub(crate) struct Landed<V> {
    /// What it is judged by; `None` when it must not be stored anywhere else.
    pub(crate) origin: Option<Origin>,
    /// The names of the keys with what was read.
    pub(crate) entries: Vec<(Box<str>, Arc<Entry<V>>)>,
}

impl<V: Value> Cache<V> {
    /// Waits for its turn, loads, stores what was loaded in L1 as far as it still stands, and hands it to everybody who waits.
    /// `None` when the load failed.
    pub(crate) async fn load<F, Fut>(&self, guard: LoadGuard<V>, search: &Search<F>) -> Option<Landed<V>>
    where
        F: Fn(Vec<usize>) -> Fut + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let numbers = guard.numbers().map(|number| search.places[number]).collect();
        match self.run(numbers, &search.load).await {
            Ok(loaded) => Some(self.land(guard, search, loaded)),
            Err(error) => {
                let counters = self.counters();
                if error == LoadError::Overloaded { &counters.refused } else { &counters.load_errors }.one();
                guard.fail(&error);
                None
            }
        }
    }

    /// A load that panics is lost, and nothing else.
    pub(crate) async fn run<F, Fut>(&self, numbers: Vec<usize>, load: &F) -> Result<Loaded<V>, LoadError>
    where
        F: Fn(Vec<usize>) -> Fut + Sync,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let counters = self.counters();
        let mut begun = None;
        let work = async {
            let _permit = self.shared().admission.enter().await?;
            counters.loads.one();
            begun = Some(self.clock().now());
            AssertUnwindSafe(async { load(numbers).await }).catch_unwind().await.unwrap_or(Err(LoadError::Lost))
        };
        let loaded = timeout(self.config().load_timeout, work).await;
        let Some(begun) = begun else { return loaded.unwrap_or(Err(LoadError::Overloaded)) };
        counters.load_latency.record(self.clock().now().since(begun));
        loaded.unwrap_or(Err(LoadError::Timeout))
    }

    fn land<F>(&self, guard: LoadGuard<V>, search: &Search<F>, loaded: Loaded<V>) -> Landed<V> {
        if loaded.incarnation.is_none() {
            return self.land_unproven(guard, search, loaded);
        }
        let policy = search.policy;
        let (ours, foreign) = self.place(loaded.incarnation);
        let began = guard.began();
        let took = self.clock().now().since(began);
        let entries: Vec<_> = guard
            .keys()
            .zip(loaded.values)
            .map(|((name, stamp), value)| {
                let life = self.life(policy, value.is_some(), took);
                let may = ours && self.kept_in_l1(policy, value.as_ref());
                let entry = Entry::new(name, value, *stamp, began, life, Tier::Database, foreign);
                (name.clone(), self.take_in_l1(entry, policy, may))
            })
            .collect();
        guard.fulfil(entries.iter().map(|(_, entry)| Ok(Arc::clone(entry))));
        let Loaded { horizon, witness, .. } = loaded;
        let origin = loaded.incarnation.filter(|_| ours);
        let origin = origin.map(|incarnation| Origin { incarnation, horizon, version: 0, witness });
        Landed { origin, entries }
    }

    /// Hands out what a database returned that cannot tell which it is, as a standby cannot. It may lie behind as far as it
    /// likes: only what nothing is known to have changed since was right at the last look at the change log, and may be served
    /// as stale as that look is. It is stored nowhere.
    fn land_unproven<F>(&self, guard: LoadGuard<V>, search: &Search<F>, loaded: Loaded<V>) -> Landed<V> {
        let (began, horizon, witness) = (guard.began(), loaded.horizon, loaded.witness);
        let followed = self.validity().view().map(|view| view.incarnation);
        let outcomes: Vec<_> = guard
            .keys()
            .zip(guard.numbers())
            .zip(loaded.values)
            .map(|(((name, stamp), number), value)| {
                let term = search.terms[number].as_deref();
                let facts = value.as_ref().map(Value::facts).unwrap_or_default();
                let stands = followed.is_some_and(|incarnation| {
                    let origin = Origin { incarnation, horizon, version: facts.version, witness };
                    let terms = (value.is_some() && term.is_none()).then_some(&facts.terms[..]);
                    self.validity().frame_stands(name, Depends::of(name, term, value.is_some()), &origin, terms)
                });
                if !stands {
                    self.counters().load_errors.one();
                    return Err(LoadError::Unavailable(
                        "the database that answered is behind what is known here".into(),
                    ));
                }
                let life = self.life(search.policy, value.is_some(), Duration::ZERO);
                Ok(Arc::new(Entry::new(name, value, *stamp, began, life, Tier::Database, true)))
            })
            .collect();
        guard.fulfil(outcomes);
        Landed { origin: None, entries: Vec::new() }
    }

    /// Stores an entry in L1, if it may be stored and still stands.
    pub(crate) fn take_in_l1(&self, mut entry: Entry<V>, policy: Policy, may: bool) -> Arc<Entry<V>> {
        let shared = self.shared();
        if let (Policy::Item, Some(_)) = (policy, &entry.value) {
            entry.count_reads(shared.prefetch.found(entry.name()));
        }
        let entry = Arc::new(entry);
        let stored = may && shared.l1.store(&entry, &shared.validity);
        if stored { &shared.counters.sets } else { &shared.counters.not_stored }.one();
        entry
    }

    /// Whether what a database returned may be stored, and whether it must be marked stale: what comes from another
    /// database than the one followed, or from one that cannot tell which it is, may be older than the staleness bound.
    /// Before the change log was read for the first time, and while it is incomplete, nothing is stored.
    pub(crate) fn place(&self, incarnation: Option<Incarnation>) -> (bool, bool) {
        let followed = self.shared().validity.view().map(|view| view.incarnation);
        let ours = followed.is_some() && followed == incarnation;
        let starting = self.shared().validity.looked() == Moment::NEVER && incarnation.is_some();
        (ours && self.incomplete().is_none(), !ours && !starting)
    }

    /// Whether the policy of a value lets it into L1.
    pub(crate) fn kept_in_l1(&self, policy: Policy, value: Option<&V>) -> bool {
        let policies = self.policies();
        let policy = policies.of(policy, value.is_some());
        policy.l1 && value.is_none_or(|value| value.bytes() <= policy.max_bytes)
    }

    /// How long a copy lives that took so long to load.
    pub(crate) fn life(&self, policy: Policy, exists: bool, load: Duration) -> Life {
        let policies = self.policies();
        let policy = policies.of(policy, exists);
        Life::new(policy, self.jitter().shorten(policy.ttl, policy.jitter), load)
    }
}

/// How many loads may be under way and how many may wait for that.
pub(crate) struct Admission {
    permits: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
}

impl Admission {
    pub(crate) fn new(at_once: usize, max_waiting: usize) -> Self {
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(at_once), waiting: AtomicUsize::new(0), max_waiting }
    }

    /// Whether one more load would find a place, now or after waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.permits.available_permits() > 0 || self.waiting.load(Ordering::Relaxed) < self.max_waiting
    }

    /// Whether nobody waits for his turn, and there are places.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && self.permits.available_permits() > 0
    }

    /// Waits for its turn.
    async fn enter(&self) -> Result<SemaphorePermit<'_>, LoadError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.max_waiting {
            return Err(LoadError::Overloaded);
        }
        self.permits.acquire().await.map_err(|_| LoadError::Lost)
    }
}

/// One that waits, counted until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::runtime::Handle;

    use super::*;
    use crate::{CacheConfig, Clock, Facts, Snapshot, validity::View};

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
        let place = |incarnation| cache.place(Some(incarnation));
        assert_eq!((place(old), cache.place(None)), ((false, false), (false, true)), "before the first pass");
        let publish = |incarnation| {
            let view = View { snapshot: Snapshot::default(), incarnation };
            cache.validity().publish(view, cache.clock().now());
        };
        publish(old);
        assert_eq!((place(old), place(new)), ((true, false), (false, true)));
        cache.validity().forget_view();
        assert_eq!((place(old), place(new)), ((false, true), (false, true)), "everything is being dropped");
        publish(new);
        assert_eq!((place(old), place(new)), ((false, true), (true, false)));
        let view = View { snapshot: Snapshot::default(), incarnation: new };
        cache.validity().publish_incomplete(view, cache.clock().now(), "no triggers".into());
        assert_eq!((place(new), place(old)), ((false, false), (false, true)), "an incomplete log vouches for no copy");
    }
}
