//! A cache that follows a database in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_cache::{
    Cache, CacheConfig, Clock, Found, Incarnation, Key, Policy, ReadError, ReadOptions, Stats, Subject,
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{Database, Item, committed, list, seq, source, until};

/// A cache that follows a database, with a clock moved by hand.
pub(crate) struct Bench {
    pub(crate) db: Arc<Database>,
    pub(crate) cache: Cache<Item>,
    pub(crate) clock: Clock,
    follower: JoinHandle<()>,
}

/// As the default, without jitter.
pub(crate) fn config() -> CacheConfig {
    // On a busy machine a healthy database takes long.
    let mut config = CacheConfig { load_timeout: Duration::from_secs(20), ..CacheConfig::default() };
    for policy in config.policies.each_mut() {
        policy.jitter = 0.0;
    }
    config
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    /// Has seen its first pass.
    pub(crate) async fn with(config: CacheConfig) -> Self {
        let bench = Self::of(config, 1, |db| db);
        bench.cache.first_pass().await.unwrap();
        bench
    }

    pub(crate) fn of(config: CacheConfig, seed: u64, adorn: impl FnOnce(Database) -> Database) -> Self {
        let clock = Clock::manual();
        let db = Arc::new(adorn(Database::new(clock.clone())));
        let cache = Cache::new(config, clock.clone(), Handle::current(), seed);
        let follower = tokio::spawn(cache.clone().follow(Arc::clone(&db)));
        Self { db, cache, clock, follower }
    }

    /// Ends the following.
    pub(crate) async fn unfollow(&self) {
        self.follower.abort();
        until(|| self.follower.is_finished()).await;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.cache.stats()
    }

    pub(crate) fn loads(&self) -> u64 {
        self.db.loads.load(Ordering::SeqCst)
    }

    /// What a plain read of an item returns.
    pub(crate) async fn read(&self, name: &str) -> Result<Found<Item>, ReadError> {
        self.read_with(Key::item(name), ReadOptions::default()).await
    }

    pub(crate) async fn read_with(&self, key: Key, options: ReadOptions) -> Result<Found<Item>, ReadError> {
        let policy = if key.term.is_some() { Policy::List } else { Policy::Item };
        let (db, name) = (Arc::clone(&self.db), source(&key));
        let load = move |_| {
            let (db, name) = (Arc::clone(&db), name.clone());
            async move { db.load(vec![name]).await }
        };
        self.cache.get_or_load(key, policy, options, load).await
    }

    pub(crate) async fn read_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Found<Item>>>, ReadError> {
        self.read_many_with(keys, ReadOptions::default()).await
    }

    pub(crate) async fn read_many_with(
        &self,
        keys: Vec<Key>,
        options: ReadOptions,
    ) -> Result<Vec<Option<Found<Item>>>, ReadError> {
        let (db, names) = (Arc::clone(&self.db), keys.iter().map(source).collect::<Vec<_>>());
        let load = move |numbers: Vec<usize>| {
            let (db, names) = (Arc::clone(&db), numbers.into_iter().map(|number| names[number].clone()).collect());
            async move { db.load(names).await }
        };
        self.cache.get_or_load_many(keys, Policy::Item, options, load).await
    }

    /// The commit that a plain read of an item shows; `None` for one that does not exist.
    pub(crate) async fn seq(&self, name: &str) -> Option<u64> {
        seq(&self.read(name).await.unwrap())
    }

    pub(crate) async fn list_seq(&self, term: &str) -> Option<u64> {
        seq(&self.read_with(list(term), ReadOptions::default()).await.unwrap())
    }

    /// Learns a change that was never learned before.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the subject for it")]
    pub(crate) fn learn(&self, subject: Subject) {
        static NUMBER: AtomicU64 = AtomicU64::new(1 << 40);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.cache.apply(&committed(number, &subject, number), Incarnation(1));
    }

    /// Lets the proof of freshness lapse: passes fail from here on, and more than the bound goes by.
    pub(crate) async fn lose_the_log(&self) {
        self.db.fail_passes.store(true, Ordering::SeqCst);
        let failed = self.stats().failed_passes;
        self.db.notify();
        until(|| self.stats().failed_passes > failed).await;
        self.clock.advance(self.cache.config().staleness_bound * 2);
    }

    /// Has the next pass made, and waits for it.
    pub(crate) async fn pass(&self) {
        self.cache.reach(larder_cache::Freshness::FullyConsistent).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.follower.abort();
    }
}
