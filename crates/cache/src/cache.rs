//! The cache: reads, loads, and what is learned meanwhile.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    CacheConfig, Change, Clock, Counters, Found, Freshness, Key, LoadError, Loaded, Moment, Policy, ReadError,
    ReadOptions, Stats, Subject, Tier, Token,
    flight::{Admission, Duty, FlightKey, Flights, Waiting},
    follower::Passes,
    jitter::Jitter,
    knowledge::{Knowledge, within},
    l1::{Entry, L1, Value},
};

/// Copies of values, kept right. Cloning it gives another handle to the same cache.
pub struct Cache<V> {
    shared: Arc<Shared<V>>,
}

struct Shared<V> {
    config: CacheConfig,
    clock: Clock,
    runtime: Handle,
    jitter: Jitter,
    counters: Arc<Counters>,
    knowledge: Knowledge,
    l1: L1<V>,
    flights: Arc<Flights<V>>,
    admission: Admission,
    passes: Passes,
}

/// Whether a copy may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may.
    Valid,
    /// Nothing that touches it was learned, but what was learned is not up to date, or its time has passed.
    Unproven,
    /// Something that touches it was learned.
    Invalid,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V: Value> Cache<V> {
    /// An empty cache. Loads run on `runtime`, so that none is lost with the reader who began it. `seed` feeds the jitter.
    pub fn new(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            shared: Arc::new(Shared {
                clock,
                runtime,
                jitter: Jitter::new(seed),
                knowledge: Knowledge::new(config.l1_entries),
                l1: L1::new(&config, &counters),
                flights: Arc::new(Flights::new()),
                admission: Admission::new(config.max_loads, config.max_waiting_loads),
                passes: Passes::new(),
                counters,
                config,
            }),
        }
    }

    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&self, name: &str) -> Option<Arc<Entry<V>>> {
        let entry = self.shared.l1.get(name)?;
        if self.judge(&entry) != Verdict::Valid {
            return None;
        }
        self.counters().hits.one();
        if entry.value.is_none() {
            self.counters().not_found_hits.one();
        }
        Some(entry)
    }

    /// Makes sure that whatever is read from here on shows at least the state asked for.
    pub async fn reach(&self, freshness: Freshness) -> Result<(), ReadError> {
        match freshness {
            Freshness::MinimizeLatency => Ok(()),
            Freshness::FullyConsistent => self.pass_now(self.config().load_timeout).await,
            Freshness::AtLeast(token) if self.sees(token) == Some(true) => Ok(()),
            Freshness::AtLeast(token) => {
                self.pass_now(self.config().load_timeout).await?;
                match self.sees(token) {
                    Some(true) => Ok(()),
                    Some(false) => Err(ReadError::UnknownCommit),
                    None => Err(ReadError::OtherIncarnation),
                }
            }
        }
    }

    /// Returns the copy of a key, or loads it.
    pub async fn get_or_load<F, Fut>(
        &self,
        key: Key,
        policy: Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Found<V>, ReadError>
    where
        F: FnOnce(Vec<usize>) -> Fut + Send + 'static,
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
        F: FnOnce(Vec<usize>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let mut found: Vec<_> = keys.iter().map(|key| self.get(&key.name).map(Found::fresh)).collect();
        let mut copies = self.unproven(&keys, &found);
        if copies.iter().any(Option::is_some) && !self.proven() && !self.passes().failing() {
            // A look at the change log may prove all of them again, and costs less than a load.
            let _ = self.pass_now(self.config().staleness_bound / 4).await;
            for (found, key) in found.iter_mut().zip(&keys).filter(|(found, _)| found.is_none()) {
                *found = self.get(&key.name).map(Found::fresh);
            }
            copies = self.unproven(&keys, &found);
        }
        let away = self.passes().failing() && !self.proven();
        if away || options.cache_only {
            self.serve_stale(&mut found, &copies, options);
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|&number| found[number].is_none()).collect();
        self.counters().misses.add(missing.len() as u64);
        if missing.is_empty() || options.cache_only {
            return Ok(found);
        }

        let proven = self.shared.knowledge.proven();
        let flights = missing.iter().map(|&number| self.flight_key(&keys[number]));
        let flights: Vec<FlightKey> = flights.collect();
        let now = self.clock().now();
        let bound = self.config().staleness_bound;
        let joinable = |began| within(bound, proven, now) || within(bound, began, now);
        let (waits, own, duty) = self.shared.flights.join(flights, now, joinable);
        self.counters().joins.add((waits.len() - own.len()) as u64);
        if !own.is_empty() {
            let numbers = own.iter().map(|&number| missing[number]).collect();
            self.start(duty, policy, numbers, load);
        }
        self.wait(&missing, waits, &mut found, &copies, options).await?;
        Ok(found)
    }

    /// Learns a change: what it touches is not served again. Twice, late or out of order is harmless.
    pub fn learn(&self, change: &Change) {
        let counters = self.counters();
        counters.changes.one();
        self.shared.knowledge.learn(change);
        match &change.subject {
            Subject::Entry { key, .. } | Subject::Key(key) => {
                self.delete(key);
            }
            Subject::Tag(_) => counters.rules.one(),
            Subject::All => {
                counters.rules.one();
                self.shared.l1.clear();
            }
        }
    }

    /// Drops every copy: anything may have changed.
    pub(crate) fn learn_all(&self) {
        self.learn(&Change { id: 0, subject: Subject::All });
    }

    /// Removes the copy of a key from L1. Returns whether there was one.
    pub fn delete(&self, name: &str) -> bool {
        let deleted = self.shared.l1.remove(name);
        if deleted {
            self.counters().deletes.one();
        }
        deleted
    }

    /// Removes every copy from L1.
    pub fn clear(&self) {
        self.shared.l1.clear();
    }

    /// Removes the copies whose time has passed. Returns how many.
    pub fn purge_expired(&self) -> u64 {
        let purged = self.shared.l1.purge(self.clock().now());
        self.counters().expired.add(purged);
        purged
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        let (entries, bytes) = self.shared.l1.size();
        Stats { entries, bytes, ..self.counters().read() }
    }

    /// How long ago the last look at the change log began that succeeded; `None` before the first.
    pub fn age_of_last_pass(&self) -> Option<Duration> {
        let proven = self.shared.knowledge.proven();
        (proven != Moment::NEVER).then(|| self.clock().now().since(proven))
    }

    /// Waits until the change log has been read once.
    pub async fn first_pass(&self) -> Result<(), ReadError> {
        if self.age_of_last_pass().is_some() { Ok(()) } else { self.pass_now(self.config().load_timeout).await }
    }

    /// The configuration.
    pub fn config(&self) -> &CacheConfig {
        &self.shared.config
    }

    /// The clock that decides what is fresh.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.shared.knowledge
    }

    pub(crate) fn passes(&self) -> &Passes {
        &self.shared.passes
    }

    pub(crate) fn jitter(&self) -> &Jitter {
        &self.shared.jitter
    }

    /// The moment of proof is read first: a suspended thread then sees too old a proof, never too young a one.
    fn judge(&self, entry: &Entry<V>) -> Verdict {
        let proven = self.shared.knowledge.proven();
        let now = self.clock().now();
        let bound = self.config().staleness_bound;
        if !entry.stands(&self.shared.knowledge) {
            Verdict::Invalid
        } else if now < entry.deadline && (within(bound, proven, now) || within(bound, entry.began, now)) {
            Verdict::Valid
        } else {
            Verdict::Unproven
        }
    }

    fn proven(&self) -> bool {
        let proven = self.shared.knowledge.proven();
        within(self.config().staleness_bound, proven, self.clock().now())
    }

    /// The copies of keys not found that could still be served stale. Removes the others.
    fn unproven(&self, keys: &[Key], found: &[Option<Found<V>>]) -> Vec<Option<Arc<Entry<V>>>> {
        let copy = |(key, found): (&Key, &Option<Found<V>>)| {
            if found.is_some() {
                return None;
            }
            let entry = self.shared.l1.get(&key.name)?;
            match self.judge(&entry) {
                Verdict::Invalid => {
                    self.counters().invalidated.one();
                    self.shared.l1.discard(&key.name, &entry);
                    None
                }
                Verdict::Valid | Verdict::Unproven => Some(entry),
            }
        };
        keys.iter().zip(found).map(copy).collect()
    }

    /// Fills what was not found with copies that may be served stale.
    fn serve_stale(&self, found: &mut [Option<Found<V>>], copies: &[Option<Arc<Entry<V>>>], options: ReadOptions) {
        for (found, copy) in found.iter_mut().zip(copies) {
            if let (None, Some(entry)) = (&found, copy)
                && self.may_be_stale(entry, options)
            {
                self.counters().stale.one();
                *found = Some(Found { entry: Arc::clone(entry), tier: Tier::L1, stale: true });
            }
        }
    }

    /// Waives the proof, up to the limit, and the deadline; never what was learned.
    fn may_be_stale(&self, entry: &Entry<V>, options: ReadOptions) -> bool {
        let limit = self.config().max_stale;
        let limit = options.max_stale.map_or(limit, |asked| asked.min(limit));
        let newest_proof = self.shared.knowledge.proven().max(entry.began);
        !limit.is_zero() && within(limit, newest_proof, self.clock().now()) && entry.stands(&self.shared.knowledge)
    }

    /// Captures what is known of a key, before anything is looked at on its behalf.
    fn flight_key(&self, key: &Key) -> FlightKey {
        let knowledge = &self.shared.knowledge;
        let captured = knowledge.capture(knowledge.stripe(key.term.as_deref().unwrap_or(&key.name)));
        (key.name.clone(), captured)
    }

    /// Starts a load that nobody's departure ends.
    fn start<F, Fut>(&self, duty: Duty<V>, policy: Policy, numbers: Vec<usize>, load: F)
    where
        F: FnOnce(Vec<usize>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        if !self.shared.admission.has_room() {
            self.counters().refused.one();
            let count = duty.keys().len();
            duty.fulfil((0..count).map(|_| Err(LoadError::Overloaded)));
            return;
        }
        let cache = self.clone();
        self.shared.runtime.spawn(async move {
            let counters = cache.counters();
            let limit = cache.config().load_timeout;
            let outcome = async {
                let _permit = cache.shared.admission.enter(limit).await?;
                counters.loads.one();
                let begun = cache.clock().now();
                let loaded = tokio::time::timeout(limit, load(numbers)).await;
                counters.load_nanos.add(u64::try_from(cache.clock().now().since(begun).as_nanos()).unwrap_or(0));
                loaded.unwrap_or(Err(LoadError::Timeout))
            }
            .await;
            match outcome {
                Ok(loaded) => cache.land(duty, policy, loaded),
                Err(error) => {
                    if error == LoadError::Overloaded { &counters.refused } else { &counters.load_errors }.one();
                    let count = duty.keys().len();
                    duty.fulfil((0..count).map(|_| Err(error.clone())));
                }
            }
        });
    }

    /// Stores what was loaded, as far as it still stands, and hands it to everybody who waits.
    fn land(&self, duty: Duty<V>, policy: Policy, loaded: Loaded<V>) {
        let view = self.shared.knowledge.view();
        let ours = match (&view, loaded.incarnation) {
            (Some(view), Some(incarnation)) => view.incarnation == incarnation,
            _ => false,
        };
        let began = duty.began();
        let entries: Vec<_> = duty
            .keys()
            .zip(loaded.values)
            .map(|((name, captured), value)| {
                let ttl = self.ttl(policy, value.is_some());
                let entry = Arc::new(Entry::new(value, *captured, began, ttl));
                if ours && self.shared.l1.store(name, &entry, *captured, &self.shared.knowledge) {
                    self.counters().sets.one();
                } else {
                    self.counters().not_stored.one();
                }
                Ok(entry)
            })
            .collect();
        duty.fulfil(entries);
    }

    fn ttl(&self, policy: Policy, exists: bool) -> Duration {
        let ttl = &self.config().ttl;
        let time = match policy {
            _ if !exists => ttl.not_found,
            Policy::Item => ttl.item,
            Policy::List => ttl.list,
            Policy::Search => ttl.search,
        };
        self.jitter().shorten(time, ttl.jitter)
    }

    /// Waits for loads. Where one failed because the tier below is away, a stale copy may do.
    async fn wait(
        &self,
        missing: &[usize],
        waits: Vec<Waiting<V>>,
        found: &mut [Option<Found<V>>],
        copies: &[Option<Arc<Entry<V>>>],
        options: ReadOptions,
    ) -> Result<(), ReadError> {
        for (&number, wait) in missing.iter().zip(waits) {
            match wait.await {
                Ok(entry) => found[number] = Some(Found { entry, tier: Tier::Database, stale: false }),
                Err(error) => {
                    let number = number..=number;
                    let found = &mut found[number.clone()];
                    self.serve_stale(found, &copies[number], options);
                    if found[0].is_none() {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the last look at the change log saw a commit; `None` when that was another database's.
    fn sees(&self, token: Token) -> Option<bool> {
        let view = self.shared.knowledge.view()?;
        (view.incarnation == token.incarnation).then(|| view.snapshot.sees(token.id))
    }

    async fn pass_now(&self, at_most: Duration) -> Result<(), ReadError> {
        if self.passes().one(at_most).await { Ok(()) } else { Err(ReadError::NoPass) }
    }
}
