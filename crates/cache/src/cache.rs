//! The cache and its parts.

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    CacheConfig, Clock, Counters, Freshness, LatencySummary, Moment, Policies, ReadError, Stats,
    bus::subscriber::Bus,
    changelog::commits::Commits,
    changelog::follower::Progress,
    hot_keys::prefetch::Prefetch,
    hot_keys::sketch::{HotKey, Sketch},
    jitter::Jitter,
    l1::{L1, Value},
    l2::L2,
    l2::write_behind::WriteBehind,
    peers::Peers,
    read::loader::Admission,
    read::single_flight::SingleFlight,
    validity::Validity,
    validity::dedup::Dedup,
};

/// Keys and terms whose last changes are remembered where no copies are shared: what a standby returns is judged by them.
const REMEMBERED_ALONE: usize = 50_000;

/// Copies of values, kept right. Cloning it gives another handle to the same cache.
pub struct Cache<V> {
    shared: Arc<Shared<V>>,
}

pub(crate) struct Shared<V> {
    pub(crate) config: CacheConfig,
    /// Those in force; the configuration's are those of the start.
    policies: RwLock<Arc<Policies>>,
    pub(crate) clock: Clock,
    pub(crate) runtime: Handle,
    pub(crate) jitter: Jitter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) validity: Validity,
    pub(crate) l1: L1<V>,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) flights: Arc<SingleFlight<V>>,
    pub(crate) admission: Admission,
    pub(crate) passes: Progress,
    pub(crate) dedup: Dedup,
    pub(crate) l2: Option<Arc<L2>>,
    pub(crate) bus: Bus,
    pub(crate) behind: WriteBehind,
    pub(crate) hot: Sketch,
    pub(crate) peers: Peers,
    pub(crate) tokens: Commits,
}

/// A cache, as long as somebody else keeps it.
pub struct WeakCache<V>(Weak<Shared<V>>);

impl<V> WeakCache<V> {
    /// The cache, if it is still there.
    pub fn upgrade(&self) -> Option<Cache<V>> {
        self.0.upgrade().map(|shared| Cache { shared })
    }
}

impl<V> Clone for WeakCache<V> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
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
        let prefetch = Arc::new(Prefetch::new(&config));
        let remembered = config.shared.as_ref().map_or(REMEMBERED_ALONE, |shared| shared.remembered);
        Self {
            shared: Arc::new(Shared {
                hot: Sketch::new(clock.now(), seed),
                peers: Peers::new(clock.now()),
                tokens: Commits::default(),
                clock,
                runtime,
                jitter: Jitter::new(seed),
                validity: Validity::new(config.l1_entries, seed, remembered),
                l1: L1::new(&config, &prefetch, &counters),
                prefetch,
                flights: Arc::new(SingleFlight::new()),
                admission: Admission::new(config.max_loads, config.max_waiting_loads),
                passes: Progress::new(),
                dedup: Dedup::default(),
                l2,
                bus: Bus::default(),
                behind: WriteBehind::default(),
                counters,
                policies: RwLock::new(Arc::new(config.policies.clone())),
                config,
            }),
        }
    }

    /// Makes sure that whatever is read from here on shows at least the state asked for.
    pub async fn reach(&self, freshness: Freshness) -> Result<(), ReadError> {
        match freshness {
            Freshness::MinimizeLatency => Ok(()),
            Freshness::FullyConsistent => self.pass_needed().await,
            Freshness::AtLeast(token) => self.reach_commit(token).await,
        }
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        let (entries, bytes) = self.shared.l1.size();
        Stats { entries, bytes, ..self.counters().read() }
    }

    /// The keys that are read most at present, by estimate, the most read first; at most 1,000.
    pub fn hot_keys(&self, most: usize) -> Vec<HotKey> {
        self.shared.hot.top(most, self.clock().now())
    }

    /// How long loads from the database take, and commands to Redis.
    pub fn latencies(&self) -> (LatencySummary, LatencySummary) {
        (self.counters().load_latency.summary(), self.counters().l2_latency.summary())
    }

    /// How long ago the last look at the change log began that succeeded; `None` before the first.
    pub fn age_of_last_pass(&self) -> Option<Duration> {
        let looked = self.shared.validity.looked();
        (looked != Moment::NEVER).then(|| self.clock().now().since(looked))
    }

    /// Why the change log does not tell of every change, if the last look at it found that. Until that has been put right every
    /// read is answered from the database.
    pub fn incomplete(&self) -> Option<Arc<str>> {
        self.shared.validity.incomplete()
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

    /// How copies are kept from here on; those that are there keep the times that they were given.
    pub fn set_policies(&self, policies: Policies) {
        *self.shared.policies.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
    }

    /// How copies are kept.
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.shared.policies.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The clock that decides what is fresh.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// A handle that does not keep the cache: for what the cache itself keeps.
    pub fn downgrade(&self) -> WeakCache<V> {
        WeakCache(Arc::downgrade(&self.shared))
    }

    pub(crate) fn shared(&self) -> &Shared<V> {
        &self.shared
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn validity(&self) -> &Validity {
        &self.shared.validity
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.shared.passes
    }

    pub(crate) fn jitter(&self) -> &Jitter {
        &self.shared.jitter
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.shared.tokens
    }

    /// Waits for a look for whoever cannot be answered without. One that fails is followed by another: what it failed by, as a
    /// connection that the network forgot, is often mended by that.
    pub(crate) async fn pass_needed(&self) -> Result<(), ReadError> {
        let at_most = self.config().load_timeout;
        if self.pass_now(at_most).await.is_ok() { Ok(()) } else { self.pass_now(at_most).await }
    }

    pub(crate) async fn pass_now(&self, at_most: Duration) -> Result<(), ReadError> {
        if self.progress().one(at_most).await { Ok(()) } else { Err(ReadError::NoPass) }
    }
}
