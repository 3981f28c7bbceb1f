//! Reads that load the keys that L1 cannot answer.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    Found, Key, Loaded, ReadOptions, ReadPath, Verdict,
    get::ReadClock,
    loader::Purpose,
    single_flight::{Target, Waiting},
};
use crate::{
    config::Policy,
    error::{LoadError, ReadError},
    hot_keys::sampled,
    l1::{Entry, Reload, Tier, Value},
    trace::{self, ActiveSpan, SpanKind},
    validity::within,
};

/// The waits for the loads of missing keys.
struct Waits<V> {
    /// In the order of the keys.
    waits: Vec<Waiting<V>>,
    /// The span of the wait for loads of other requests; no span where there are none.
    _joined: ActiveSpan,
}

/// The progress of a read for one of its keys.
struct Lookup<V> {
    key: Key,
    found: Option<Found<V>>,
    /// A copy that may still be served stale.
    candidate: Option<Arc<Entry<V>>>,
}

impl<V: Value> ReadPath<V> {
    /// Returns the copy of a key, or loads it.
    pub(crate) async fn get_or_load<F, Fut>(
        self: &Arc<Self>,
        key: Key,
        policy: Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Found<V>, ReadError>
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let mut found = self.get_or_load_many(vec![key], policy, options, load).await?;
        found.pop().flatten().ok_or(ReadError::NotCached)
    }

    /// Returns the copies of distinct keys, in their order, and loads the missing ones together. `load` receives the indices of the
    /// keys to load. An element is `None` only if `options` accepts only copies and there is none.
    pub(crate) async fn get_or_load_many<F, Fut>(
        self: &Arc<Self>,
        keys: Vec<Key>,
        policy: Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Vec<Option<Found<V>>>, ReadError>
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        for key in keys.iter().filter(|_| sampled()) {
            self.hot_keys.note(&key.name, self.clock.now());
        }
        let mut lookups: Vec<Lookup<V>> =
            keys.into_iter().map(|key| Lookup { key, found: None, candidate: None }).collect();
        // A reader who accepts only copies starts no load, not even for others.
        let reload = if options.cache_only { Reload::Impossible } else { Reload::Possible };
        let mut due = Vec::new();
        self.look_up(&mut lookups, reload, &mut due);
        let mut away = self.progress.failing();
        if !away && !self.proven() && lookups.iter().any(|lookup| lookup.candidate.is_some()) {
            // A pass over the change log may prove all candidates fresh, and costs less than a load.
            away = self.progress.pass(self.config.staleness_bound / 4).await.is_err();
            self.look_up(&mut lookups, reload, &mut due);
        }
        if options.cache_only || (away && !self.proven()) {
            for lookup in &mut lookups {
                self.serve_stale(lookup, policy, options);
            }
        }
        let missing: Vec<usize> = (0..lookups.len()).filter(|&index| lookups[index].found.is_none()).collect();
        if missing.is_empty() && due.is_empty() {
            return Ok(found(lookups));
        }
        let load = Arc::new(load);
        if !due.is_empty() {
            let load = Arc::clone(&load);
            self.refresh(&lookups, &due, policy, move |indices| load(indices));
        }
        if missing.is_empty() || options.cache_only {
            self.counters.misses.add(missing.len() as u64);
            return Ok(found(lookups));
        }
        let Waits { waits, _joined } = self.load_missing(&mut lookups, &missing, policy, move |indices| load(indices));
        for (&index, wait) in missing.iter().zip(waits) {
            let lookup = &mut lookups[index];
            if lookup.found.is_none() {
                self.await_load(lookup, wait, policy, options).await?;
            }
        }
        Ok(found(lookups))
    }

    /// Joins the loads in flight for the missing keys, and starts the others.
    fn load_missing<F, Fut>(
        self: &Arc<Self>,
        lookups: &mut [Lookup<V>],
        missing: &[usize],
        policy: Policy,
        load: F,
    ) -> Waits<V>
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let proven = self.validity.proven();
        // A load that may read L2 returns what was right as of the proof it finds there, not as of its own start. Loads do not read
        // L2 if their stamp was taken after the log was found incomplete.
        let skips_l2 = self.l2.is_none() || self.validity.incomplete().is_some();
        let targets: Vec<Target> = missing.iter().map(|&index| self.target(index, &lookups[index].key)).collect();
        let now = self.clock.now();
        let bound = self.config.staleness_bound;
        let joinable = |began| within(bound, proven, now) || (skips_l2 && within(bound, began, now));
        let (waits, mut guard) = self.single_flight.join(targets, now, joinable);
        let joins = waits.len() - guard.len();
        self.counters.joins.add(joins as u64);
        let joined = if joins > 0 { trace::start("wait for load", SpanKind::Internal) } else { ActiveSpan::default() };
        joined.note("larder.wait.for", "single_flight");
        joined.note("larder.wait.keys", joins);
        let mut hits = 0;
        guard.settle(|target| {
            // A load that ended since the lookup above stored its result in L1 before it left the single flight.
            let entry = self.reader().get(&target.key.name)?;
            hits += 1;
            lookups[target.index].found = Some(Found::fresh(Arc::clone(&entry)));
            Some(Ok(entry))
        });
        self.counters.misses.add(missing.len() as u64 - hits);
        if !guard.is_empty() {
            self.start(guard, policy, Purpose::Miss, load);
        }
        Waits { waits, _joined: joined }
    }

    /// Waits for a load. Where the load fails or takes too long because the tier below is unavailable, a stale copy may do.
    async fn await_load(
        &self,
        lookup: &mut Lookup<V>,
        wait: Waiting<V>,
        policy: Policy,
        options: ReadOptions,
    ) -> Result<(), ReadError> {
        let mut wait = pin!(wait);
        let outcome = match timeout(self.config.soft_load_timeout(), &mut wait).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                self.serve_stale(lookup, policy, options);
                if lookup.found.is_some() {
                    // The next reader is to find a fresh copy.
                    wait.keep();
                    return Ok(());
                }
                wait.await
            }
        };
        match outcome {
            Ok(entry) if entry.is_foreign() && !self.recently_proven(policy, entry.value.is_some(), options) => {
                Err(ReadError::NoPass)
            }
            Ok(entry) => {
                if entry.value.is_some() {
                    self.hot_keys.missed(&lookup.key.name);
                }
                let (tier, stale) = (entry.tier, entry.is_foreign());
                lookup.found = Some(Found { entry, tier, stale });
                Ok(())
            }
            Err(error) => {
                self.serve_stale(lookup, policy, options);
                if lookup.found.is_none() { Err(error.into()) } else { Ok(()) }
            }
        }
    }

    fn count_hit(&self, entry: &Entry<V>) {
        self.note_read(entry);
        self.counters.hits.one();
        if entry.value.is_none() {
            self.counters.not_found_hits.one();
        }
    }

    /// Looks up in L1 the keys that are not found yet. Removes invalid copies, and adds the indices of copies to refresh to `due`.
    fn look_up(&self, lookups: &mut [Lookup<V>], reload: Reload, due: &mut Vec<usize>) {
        let clock = self.read_clock();
        let open = lookups.iter_mut().enumerate().filter(|(_, lookup)| lookup.found.is_none());
        for (index, lookup) in open {
            let known = lookup.candidate.take().is_some();
            let Some(entry) = self.l1.get(&lookup.key.name) else { continue };
            match self.judge(&entry, clock, reload) {
                verdict @ (Verdict::Valid | Verdict::Due) => {
                    if verdict == Verdict::Due && reload == Reload::Possible {
                        due.push(index);
                    }
                    self.count_hit(&entry);
                    lookup.found = Some(Found::fresh(entry));
                }
                Verdict::Invalid => {
                    self.counters.invalidated.one();
                    self.l1.discard(&entry);
                }
                verdict @ (Verdict::Unproven | Verdict::Expired) => {
                    if verdict == Verdict::Expired && !known {
                        self.counters.expired.one();
                    }
                    lookup.candidate = Some(entry);
                }
            }
        }
    }

    /// Serves the candidate of a key that is not found, if it may be served stale.
    fn serve_stale(&self, lookup: &mut Lookup<V>, policy: Policy, options: ReadOptions) {
        if let (None, Some(entry)) = (&lookup.found, &lookup.candidate)
            && self.may_be_stale(entry, policy, options)
        {
            self.counters.stale.one();
            lookup.found = Some(Found { entry: Arc::clone(entry), tier: Tier::L1, stale: true });
        }
    }

    /// Waives the proof, up to the limit, and the deadline, but never an applied change.
    fn may_be_stale(&self, entry: &Entry<V>, policy: Policy, options: ReadOptions) -> bool {
        let of_policy = self.policies.get().of(policy, entry.value.is_some()).max_stale;
        let limit = self.stale_limit(of_policy, options);
        let ReadClock { proven, now } = self.read_clock();
        !limit.is_zero() && within(limit, proven.max(entry.own_proof()), now) && entry.stands(&self.validity)
    }

    /// Whether the last proof is recent enough to serve an unprovable value, marked stale.
    fn recently_proven(&self, policy: Policy, exists: bool, options: ReadOptions) -> bool {
        let of_policy = self.policies.get().of(policy, exists).max_stale;
        self.proven_within(self.stale_limit(of_policy, options))
    }

    /// Whether the last proof is recent enough to serve an existing, unprovable value, marked stale.
    pub(super) fn value_recently_proven(&self, policy: Policy, options: ReadOptions) -> bool {
        let of_policy = self.policies.get().of_value(policy).max_stale;
        self.proven_within(self.stale_limit(of_policy, options))
    }

    fn proven_within(&self, limit: Duration) -> bool {
        let ReadClock { proven, now } = self.read_clock();
        !limit.is_zero() && within(limit, proven, now)
    }

    fn stale_limit(&self, of_policy: Option<Duration>, options: ReadOptions) -> Duration {
        [of_policy, options.max_stale].into_iter().flatten().fold(self.config.max_stale, Duration::min)
    }

    /// Reloads due copies in the background.
    fn refresh<F, Fut>(self: &Arc<Self>, lookups: &[Lookup<V>], due: &[usize], policy: Policy, load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let targets: Vec<Target> = due.iter().map(|&index| self.target(index, &lookups[index].key)).collect();
        let (_, guard) = self.single_flight.join(targets, self.clock.now(), |_| true);
        self.counters.refreshes.add(guard.len() as u64);
        if !guard.is_empty() {
            self.start(guard, policy, Purpose::Refresh, load);
        }
    }

    /// Makes a key a target, with the stamp of its validity. Must precede every read on behalf of the key.
    pub(super) fn target(&self, index: usize, key: &Key) -> Target {
        let stamp = self.validity.stamp(&key.name, key.term.as_deref());
        Target::new(index, key.name.clone(), key.term.clone(), stamp)
    }
}

fn found<V>(lookups: Vec<Lookup<V>>) -> Vec<Option<Found<V>>> {
    lookups.into_iter().map(|lookup| lookup.found).collect()
}
