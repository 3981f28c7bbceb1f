//! The cache: reads, loads, and what is learned meanwhile.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    CacheConfig, Clock, Commit, Counters, Found, Freshness, Key, LoadError, Loaded, Moment, Policy, ReadError,
    ReadOptions, Stats, Tier, Token, WritePolicy,
    behind::Behind,
    bus::{self, Bus},
    flight::{FlightKey, Flights},
    follower::Passes,
    jitter::Jitter,
    knowledge::{Knowledge, within},
    l1::{Entry, L1, Value},
    l2::L2,
    load::Admission,
    seen::Seen,
    talk::Talk,
};

/// Copies of values, kept right. Cloning it gives another handle to the same cache.
pub struct Cache<V> {
    shared: Arc<Shared<V>>,
}

pub(crate) struct Shared<V> {
    pub(crate) config: CacheConfig,
    pub(crate) clock: Clock,
    pub(crate) runtime: Handle,
    pub(crate) jitter: Jitter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) knowledge: Knowledge,
    pub(crate) l1: L1<V>,
    pub(crate) flights: Arc<Flights<V>>,
    pub(crate) admission: Admission,
    pub(crate) passes: Passes,
    pub(crate) seen: Seen,
    pub(crate) l2: Option<Arc<L2>>,
    pub(crate) bus: Bus,
    pub(crate) behind: Behind,
    pub(crate) talk: Talk,
}

/// Whether a copy may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may.
    Valid,
    /// Nothing that touches it was learned, but what was learned is not up to date.
    Unproven,
    /// Nothing that touches it was learned, but its time has passed.
    Expired,
    /// Something that touches it was learned.
    Invalid,
}

/// What a read has of one of its keys so far.
pub(crate) struct Sought<V> {
    pub(crate) found: Option<Found<V>>,
    /// A copy that could still be served stale.
    copy: Option<Arc<Entry<V>>>,
}

/// The proof of freshness and the time, read before any copy is looked at, and in this order: a suspended thread then
/// sees too old a proof, never too young a one.
#[derive(Debug, Clone, Copy)]
struct Sight {
    proven: Moment,
    now: Moment,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Reads copies from L1, for as long as one call takes: what it judges by was read when it was made.
pub struct Reader<'a, V: Value> {
    cache: &'a Cache<V>,
    sight: Sight,
    hits: u64,
    not_found: u64,
}

impl<V: Value> Reader<'_, V> {
    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&mut self, name: &str) -> Option<Arc<Entry<V>>> {
        let entry = self.cache.shared.l1.get(name)?;
        if self.cache.judge(&entry, self.sight) != Verdict::Valid {
            return None;
        }
        self.hits += 1;
        self.not_found += u64::from(entry.value.is_none());
        Some(entry)
    }

    /// The time by which it judges.
    pub fn now(&self) -> Moment {
        self.sight.now
    }
}

impl<V: Value> Drop for Reader<'_, V> {
    fn drop(&mut self) {
        let counters = self.cache.counters();
        if self.hits > 0 {
            counters.hits.add(self.hits);
        }
        if self.not_found > 0 {
            counters.not_found_hits.add(self.not_found);
        }
    }
}

impl<V: Value> Cache<V> {
    /// An empty cache of this process alone. Loads run on `runtime`, so that none is lost with the reader who began it. `seed`
    /// feeds the jitter and decides which keys share a counter of changes; a service takes a random one.
    pub fn new(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64) -> Self {
        Self::build(CacheConfig { shared: None, ..config }, clock, runtime, seed, None)
    }

    /// An empty cache that shares copies and news with others, if the configuration says with whom. `seed` also names this
    /// replica among the others. [`share`](Self::share) has to run for it to take part. The error names what is wrong with
    /// the URL.
    pub fn sharing(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64) -> Result<Self, String> {
        let l2 = config.shared.as_ref().map(|shared| L2::new(shared, seed)).transpose()?;
        Ok(Self::build(config, clock, runtime, seed, l2.map(Arc::new)))
    }

    fn build(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64, l2: Option<Arc<L2>>) -> Self {
        let counters = Arc::new(Counters::default());
        let remembered = config.shared.as_ref().map(|shared| shared.remembered);
        Self {
            shared: Arc::new(Shared {
                talk: Talk::new(clock.now()),
                clock,
                runtime,
                jitter: Jitter::new(seed),
                knowledge: Knowledge::new(config.l1_entries, seed, remembered),
                l1: L1::new(&config, &counters),
                flights: Arc::new(Flights::new()),
                admission: Admission::new(config.max_loads, config.max_waiting_loads),
                passes: Passes::new(),
                seen: Seen::default(),
                l2,
                bus: Bus::default(),
                behind: Behind::default(),
                counters,
                config,
            }),
        }
    }

    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&self, name: &str) -> Option<Arc<Entry<V>>> {
        self.reader().get(name)
    }

    /// Reads several copies from L1 under one look at the clock.
    pub fn reader(&self) -> Reader<'_, V> {
        Reader { cache: self, sight: self.sight(), hits: 0, not_found: 0 }
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
        let mut sought: Vec<Sought<V>> = keys.iter().map(|_| Sought { found: None, copy: None }).collect();
        self.look_up(&keys, &mut sought);
        let mut away = self.passes().failing();
        if !away && !self.proven() && sought.iter().any(|sought| sought.copy.is_some()) {
            // A look at the change log may prove all of them again, and costs less than a load.
            away = self.pass_now(self.config().staleness_bound / 4).await.is_err();
            self.look_up(&keys, &mut sought);
        }
        if options.cache_only || (away && !self.proven()) {
            for sought in &mut sought {
                self.serve_stale(sought, options);
            }
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|&number| sought[number].found.is_none()).collect();
        if missing.is_empty() || options.cache_only {
            self.counters().misses.add(missing.len() as u64);
            return Ok(sought.into_iter().map(|sought| sought.found).collect());
        }

        let proven = self.shared.knowledge.proven();
        let flights: Vec<FlightKey> = missing.iter().map(|&number| self.flight_key(&keys[number])).collect();
        let now = self.clock().now();
        let bound = self.config().staleness_bound;
        // A load that may look into L2 brings what was right as of the proof it finds there, not as of its own beginning.
        let alone = self.shared.l2.is_none();
        let joinable = |began| within(bound, proven, now) || (alone && within(bound, began, now));
        let (waits, mut duty) = self.shared.flights.join(flights, now, joinable);
        self.counters().joins.add((waits.len() - duty.len()) as u64);
        let mut hits = 0;
        duty.settle(|number, (name, _)| {
            // A load that landed since the look above has stored what it brought before it left the flights.
            let entry = self.get(name)?;
            hits += 1;
            sought[missing[number]].found = Some(Found::fresh(Arc::clone(&entry)));
            Some(Ok(entry))
        });
        self.counters().misses.add(missing.len() as u64 - hits);
        if !duty.is_empty() {
            let terms = missing.iter().map(|&number| keys[number].term.clone()).collect();
            self.start(duty, policy, terms, missing.clone(), load);
        }
        // Where a load failed because the tier below is away, a stale copy may do.
        for (&number, wait) in missing.iter().zip(waits) {
            let sought = &mut sought[number];
            if sought.found.is_some() {
                continue;
            }
            match wait.await {
                Ok(entry) if entry.foreign && self.stale_limit(options).is_zero() => return Err(ReadError::NoPass),
                Ok(entry) => {
                    let (tier, stale) = (entry.tier, entry.foreign);
                    sought.found = Some(Found { entry, tier, stale });
                }
                Err(error) => {
                    self.serve_stale(sought, options);
                    if sought.found.is_none() {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(sought.into_iter().map(|sought| sought.found).collect())
    }

    /// Learns a commit of this replica's own and tells the others, before anybody is told that it was made. Waits for Redis
    /// no longer than a command may take; what Redis misses, the others find in the change log.
    pub async fn wrote(&self, commit: Commit<V>) {
        let Commit { incarnation, horizon, changes, items } = commit;
        for change in &changes {
            self.learn(change, incarnation);
        }
        let (Some(l2), Some(shared)) = (&self.shared.l2, &self.config().shared) else { return };
        if changes.is_empty() || !l2.link.is_up() {
            return;
        }
        let fills =
            items.into_iter().map(|(name, value)| self.fill(Policy::Item, name, Some(&value), incarnation, horizon));
        let messages = bus::messages(incarnation, l2.replica, &changes);
        let now = match shared.write {
            WritePolicy::Through => fills.collect(),
            WritePolicy::Invalidate => Vec::new(),
            WritePolicy::Behind => {
                fills.for_each(|fill| self.put_behind(incarnation, fill));
                Vec::new()
            }
        };
        self.counters().l2_sets.add(now.len() as u64);
        let _ = l2.publish(incarnation, &now, &messages, self.counters()).await;
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

    /// Whether messages of the bus come in; `None` where there is no bus.
    pub fn bus_connected(&self) -> Option<bool> {
        self.shared.l2.as_ref().map(|_| self.shared.bus.connected())
    }

    /// The time from sending to learning of the last message of the bus, by the clocks of both replicas.
    pub fn bus_lag(&self) -> Duration {
        self.shared.bus.lag()
    }

    /// Whether Redis is asked now: it is connected, and the breaker is closed. `None` where there is none.
    pub fn shared_tier_up(&self) -> Option<bool> {
        self.shared.l2.as_ref().map(|l2| l2.link.is_up())
    }

    /// The configuration.
    pub fn config(&self) -> &CacheConfig {
        &self.shared.config
    }

    /// The clock that decides what is fresh.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn shared(&self) -> &Shared<V> {
        &self.shared
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

    fn sight(&self) -> Sight {
        let proven = self.shared.knowledge.proven();
        Sight { proven, now: self.clock().now() }
    }

    fn judge(&self, entry: &Entry<V>, Sight { proven, now }: Sight) -> Verdict {
        let bound = self.config().staleness_bound;
        if !entry.stands(&self.shared.knowledge) {
            Verdict::Invalid
        } else if now >= entry.deadline {
            Verdict::Expired
        } else if within(bound, proven, now) || within(bound, entry.own_proof(), now) {
            Verdict::Valid
        } else {
            Verdict::Unproven
        }
    }

    pub(crate) fn proven(&self) -> bool {
        let Sight { proven, now } = self.sight();
        within(self.config().staleness_bound, proven, now)
    }

    fn count_hit(&self, entry: &Entry<V>) {
        self.counters().hits.one();
        if entry.value.is_none() {
            self.counters().not_found_hits.one();
        }
    }

    /// Looks into L1 for what is not found yet. What is invalid is removed.
    fn look_up(&self, keys: &[Key], sought: &mut [Sought<V>]) {
        let sight = self.sight();
        for (key, sought) in keys.iter().zip(sought).filter(|(_, sought)| sought.found.is_none()) {
            let known = sought.copy.take().is_some();
            let Some(entry) = self.shared.l1.get(&key.name) else { continue };
            match self.judge(&entry, sight) {
                Verdict::Valid => {
                    self.count_hit(&entry);
                    sought.found = Some(Found::fresh(entry));
                }
                Verdict::Invalid => {
                    self.counters().invalidated.one();
                    self.shared.l1.discard(&entry);
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
    fn serve_stale(&self, sought: &mut Sought<V>, options: ReadOptions) {
        if let (None, Some(entry)) = (&sought.found, &sought.copy)
            && self.may_be_stale(entry, options)
        {
            self.counters().stale.one();
            sought.found = Some(Found { entry: Arc::clone(entry), tier: Tier::L1, stale: true });
        }
    }

    /// Waives the proof, up to the limit, and the deadline; never what was learned.
    fn may_be_stale(&self, entry: &Entry<V>, options: ReadOptions) -> bool {
        let limit = self.stale_limit(options);
        let Sight { proven, now } = self.sight();
        !limit.is_zero() && within(limit, proven.max(entry.own_proof()), now) && entry.stands(&self.shared.knowledge)
    }

    pub(crate) fn stale_limit(&self, options: ReadOptions) -> Duration {
        let limit = self.config().max_stale;
        options.max_stale.map_or(limit, |asked| asked.min(limit))
    }

    /// Captures what is known of a key, before anything is looked at on its behalf.
    fn flight_key(&self, key: &Key) -> FlightKey {
        let knowledge = &self.shared.knowledge;
        let captured = knowledge.capture(knowledge.stripe(key.term.as_deref().unwrap_or(&key.name)));
        (key.name.clone(), captured)
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
