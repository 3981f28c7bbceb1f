//! Reads that may have to load.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    Cache, Found, Key, LoadError, Loaded, Policy, ReadError, ReadOptions, Tier,
    hot_keys::sketch::sampled,
    l1::{Entry, Value},
    read::get::{ReadClock, Verdict},
    read::single_flight::LoadKey,
    validity::within,
};

/// What a read has of one of its keys so far.
pub(crate) struct Sought<V> {
    pub(crate) found: Option<Found<V>>,
    /// A copy that could still be served stale.
    copy: Option<Arc<Entry<V>>>,
}

impl<V: Value> Cache<V> {
    /// Returns the copy of a key, or loads it.
    pub async fn get_or_load<F, Fut>(
        &self,
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

    /// Returns the copies of keys, none twice, in their order, and loads together what is missing: `load` is given the
    /// numbers of the keys to load. An element is `None` only when copies alone were asked for and there is none.
    pub async fn get_or_load_many<F, Fut>(
        &self,
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
            self.shared().hot.note(&key.name, self.clock().now());
        }
        let mut sought: Vec<Sought<V>> = keys.iter().map(|_| Sought { found: None, copy: None }).collect();
        // Who wants copies alone has nothing loaded, not even for others.
        let can_load = !options.cache_only;
        let mut due = Vec::new();
        self.look_up(&keys, &mut sought, can_load, &mut due);
        let mut away = self.progress().failing();
        if !away && !self.proven() && sought.iter().any(|sought| sought.copy.is_some()) {
            // A look at the change log may prove all of them again, and costs less than a load.
            away = self.pass_now(self.config().staleness_bound / 4).await.is_err();
            self.look_up(&keys, &mut sought, can_load, &mut due);
        }
        if options.cache_only || (away && !self.proven()) {
            for sought in &mut sought {
                self.serve_stale(sought, policy, options);
            }
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|&number| sought[number].found.is_none()).collect();
        if missing.is_empty() && due.is_empty() {
            return Ok(sought.into_iter().map(|sought| sought.found).collect());
        }
        let load = Arc::new(load);
        if !due.is_empty() {
            let load = Arc::clone(&load);
            self.load_anew(&keys, due, policy, move |numbers| load(numbers));
        }
        if missing.is_empty() || options.cache_only {
            self.counters().misses.add(missing.len() as u64);
            return Ok(sought.into_iter().map(|sought| sought.found).collect());
        }

        let proven = self.shared().validity.proven();
        // A load that may look into L2 brings what was right as of the proof it finds there, not as of its own beginning. Nobody
        // looks there who captures what is known after the log was found to be incomplete.
        let alone = self.shared().l2.is_none() || self.validity().incomplete().is_some();
        let flights: Vec<LoadKey> = missing.iter().map(|&number| self.load_key(&keys[number])).collect();
        let now = self.clock().now();
        let bound = self.config().staleness_bound;
        let joinable = |began| within(bound, proven, now) || (alone && within(bound, began, now));
        let (waits, mut guard) = self.shared().flights.join(flights, now, joinable);
        self.counters().joins.add((waits.len() - guard.len()) as u64);
        let mut hits = 0;
        guard.settle(|number, (name, _)| {
            // A load that landed since the look above has stored what it brought before it left the flights.
            let entry = self.get(name)?;
            hits += 1;
            sought[missing[number]].found = Some(Found::fresh(Arc::clone(&entry)));
            Some(Ok(entry))
        });
        self.counters().misses.add(missing.len() as u64 - hits);
        if !guard.is_empty() {
            let terms = missing.iter().map(|&number| keys[number].term.clone()).collect();
            self.start(guard, policy, terms, missing.clone(), false, move |numbers| load(numbers));
        }
        // Where a load failed because the tier below is away, a stale copy may do.
        for (&number, wait) in missing.iter().zip(waits) {
            let sought = &mut sought[number];
            if sought.found.is_some() {
                continue;
            }
            match wait.await {
                Ok(entry) if entry.foreign && !self.recently_proven(policy, entry.value.is_some(), options) => {
                    return Err(ReadError::NoPass);
                }
                Ok(entry) => {
                    if entry.value.is_some() {
                        self.shared().hot.missed(&keys[number].name);
                    }
                    let (tier, stale) = (entry.tier, entry.foreign);
                    sought.found = Some(Found { entry, tier, stale });
                }
                Err(error) => {
                    self.serve_stale(sought, policy, options);
                    if sought.found.is_none() {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(sought.into_iter().map(|sought| sought.found).collect())
    }

    fn count_hit(&self, entry: &Entry<V>) {
        self.note_read(entry);
        self.counters().hits.one();
        if entry.value.is_none() {
            self.counters().not_found_hits.one();
        }
    }

    /// Looks into L1 for what is not found yet. What is invalid is removed; the numbers of what is to be loaded anew are told.
    fn look_up(&self, keys: &[Key], sought: &mut [Sought<V>], can_load: bool, due: &mut Vec<usize>) {
        let read_clock = self.read_clock();
        let open = keys.iter().zip(sought).enumerate().filter(|(_, (_, sought))| sought.found.is_none());
        for (number, (key, sought)) in open {
            let known = sought.copy.take().is_some();
            let Some(entry) = self.shared().l1.get(&key.name) else { continue };
            match self.judge(&entry, read_clock, can_load) {
                verdict @ (Verdict::Valid | Verdict::Due) => {
                    if verdict == Verdict::Due && can_load {
                        due.push(number);
                    }
                    self.count_hit(&entry);
                    sought.found = Some(Found::fresh(entry));
                }
                Verdict::Invalid => {
                    self.counters().invalidated.one();
                    self.shared().l1.discard(&entry);
                }
                verdict @ (Verdict::Unproven | Verdict::Expired) => {
                    if verdict == Verdict::Expired && !known {
                        self.counters().expired.one();
                    }
                    sought.copy = Some(entry);
                }
            }
        }
    }

    /// Finds the copy of what was not found, if it may be served stale.
    fn serve_stale(&self, sought: &mut Sought<V>, policy: Policy, options: ReadOptions) {
        if let (None, Some(entry)) = (&sought.found, &sought.copy)
            && self.may_be_stale(entry, policy, options)
        {
            self.counters().stale.one();
            sought.found = Some(Found { entry: Arc::clone(entry), tier: Tier::L1, stale: true });
        }
    }

    /// Waives the proof, up to the limit, and the deadline; never what was learned.
    fn may_be_stale(&self, entry: &Entry<V>, policy: Policy, options: ReadOptions) -> bool {
        let limit = self.stale_limit(policy, entry.value.is_some(), options);
        let ReadClock { proven, now } = self.read_clock();
        !limit.is_zero() && within(limit, proven.max(entry.own_proof()), now) && entry.stands(&self.shared().validity)
    }

    /// Whether the last look at the change log is young enough for what cannot be proven to be served, marked stale.
    pub(crate) fn recently_proven(&self, policy: Policy, exists: bool, options: ReadOptions) -> bool {
        let limit = self.stale_limit(policy, exists, options);
        let ReadClock { proven, now } = self.read_clock();
        !limit.is_zero() && within(limit, proven, now)
    }

    fn stale_limit(&self, policy: Policy, exists: bool, options: ReadOptions) -> Duration {
        let of_policy = self.policies().of(policy, exists).max_stale;
        [of_policy, options.max_stale].into_iter().flatten().fold(self.config().max_stale, Duration::min)
    }

    /// Loads anew, in the background, what may be served and is due.
    fn load_anew<F, Fut>(&self, keys: &[Key], due: Vec<usize>, policy: Policy, load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let flights: Vec<LoadKey> = due.iter().map(|&number| self.load_key(&keys[number])).collect();
        let now = self.clock().now();
        let (_, guard) = self.shared().flights.join(flights, now, |_| true);
        self.counters().refreshes.add(guard.len() as u64);
        if !guard.is_empty() {
            let terms = due.iter().map(|&number| keys[number].term.clone()).collect();
            self.start(guard, policy, terms, due, true, load);
        }
    }

    /// Captures what is known of a key, before anything is looked at on its behalf.
    pub(crate) fn load_key(&self, key: &Key) -> LoadKey {
        let validity = &self.shared().validity;
        let stamp = validity.capture(validity.stripes(&key.name, key.term.as_deref()));
        (key.name.clone(), stamp)
    }
}
