//! The cache: a facade that delegates to the rooms.

mod build;
mod samples;

use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use larder_change::{Incarnation, Snapshot, Token};
use tokio::sync::watch;

use crate::{
    admin::{self, DryRun, Inspected, Inspector, Unreachable},
    bus::{Commit, Publisher, Subscriber},
    changelog::{ChangeLog, Commits, Follower, Progress},
    config::CacheConfig,
    config::{Policies, Policy},
    error::{LoadError, ReadError},
    hot_keys::{HotKey, SharedHotKeys},
    l1::{Entry, L1, Value},
    l2::L2,
    peers::{Answers, Confirmed, Peers, Replica},
    read::{Found, Freshness, Key, Loaded, ReadOptions, ReadPath, Reader},
    stats::{CommitToLearned, Counters, LatencySummary, Source, Stats},
    time::{Clock, Moment},
    trace::{self, SpanKind},
    validity::{Applier, Change, Copies as _, RecentChange, RecentChanges, Subject, TracedChanges, Validity},
};

/// Copies of values, kept coherent. A clone is another handle to the same cache.
pub struct Cache<V> {
    /// Beside the other rooms, so that a hit follows no pointer through them.
    reads: Arc<ReadPath<V>>,
    rooms: Arc<Rooms<V>>,
}

/// The rooms that no hit touches.
struct Rooms<V> {
    applier: Arc<Applier<L1<V>>>,
    recent: Arc<RecentChanges>,
    progress: Arc<Progress>,
    commits: Arc<Commits>,
    follower: Follower<L1<V>>,
    publisher: Publisher<V, L1<V>>,
    peers: Arc<Peers>,
    /// `None` where there is no Redis.
    shared: Option<SharedRooms<V>>,
}

/// The rooms that only a shared tier needs.
struct SharedRooms<V> {
    l2: Arc<L2>,
    subscriber: Subscriber<L1<V>>,
    hot_keys: SharedHotKeys,
}

/// A handle that does not keep the cache alive.
pub struct WeakCache<V> {
    reads: Weak<ReadPath<V>>,
    rooms: Weak<Rooms<V>>,
}

impl<V> WeakCache<V> {
    /// The cache, if it is still alive.
    pub fn upgrade(&self) -> Option<Cache<V>> {
        Some(Cache { reads: self.reads.upgrade()?, rooms: self.rooms.upgrade()? })
    }
}

impl<V> Clone for WeakCache<V> {
    fn clone(&self) -> Self {
        Self { reads: Weak::clone(&self.reads), rooms: Weak::clone(&self.rooms) }
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { reads: Arc::clone(&self.reads), rooms: Arc::clone(&self.rooms) }
    }
}

impl<V: Value> Cache<V> {
    /// A handle that does not keep the cache alive, for closures that the cache itself keeps.
    pub fn downgrade(&self) -> WeakCache<V> {
        WeakCache { reads: Arc::downgrade(&self.reads), rooms: Arc::downgrade(&self.rooms) }
    }
}

/// Reads.
impl<V: Value> Cache<V> {
    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&self, name: &str) -> Option<Arc<Entry<V>>> {
        self.reader().get(name)
    }

    /// Reads several copies from L1 by one reading of the clock.
    pub fn reader(&self) -> Reader<'_, V> {
        self.reads.reader()
    }

    /// Makes sure that reads from here on show at least the demanded state.
    pub async fn reach(&self, freshness: Freshness) -> Result<(), ReadError> {
        if freshness == Freshness::MinimizeLatency {
            return Ok(());
        }
        let span = trace::start("wait for changes", SpanKind::Internal);
        span.note("larder.wait.for", "change_log");
        match freshness {
            Freshness::MinimizeLatency => Ok(()),
            Freshness::FullyConsistent => self.rooms.commits.reach_now().await,
            Freshness::AtLeast(token) => self.rooms.commits.reach(token).await,
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
        self.reads.get_or_load(key, policy, options, load).await
    }

    /// Returns the copies of distinct keys, in their order, and loads the missing ones together. `load` receives the indices of the
    /// keys to load. An element is `None` only if `options` accepts only copies and there is none.
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
        self.reads.get_or_load_many(keys, policy, options, load).await
    }

    /// Loads past every tier: the result of one query is returned and not stored. The load counts towards the limits of all loads.
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
        self.reads.load_apart(policy, options, load).await
    }

    /// Whether a copy is valid and belongs to the followed database. When another database is followed, every copy is touched.
    pub fn still_stands(&self, entry: &Entry<V>) -> bool {
        self.reads.still_stands(entry)
    }

    /// Waits for items that are worth prefetching, and returns the names of their keys. The caller has to
    /// [load](Self::prefetch) them, or they are forgotten.
    pub async fn worth_prefetching(&self) -> Vec<Arc<str>> {
        self.reads.prefetch.next().await
    }

    /// Loads items that are [worth prefetching](Self::worth_prefetching) into L1, except those that L1 can serve. `load` receives
    /// the indices of the names to load. Nothing is loaded while the database is unavailable or other loads wait.
    pub async fn prefetch<F, Fut>(&self, names: &[Arc<str>], load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        self.reads.load_ahead(names, load).await;
    }
}

/// Changes.
impl<V: Value> Cache<V> {
    /// Follows the change log until the future is dropped; a cache has one follower.
    ///
    /// A pass begins four times within the staleness bound, when the log reports new changes, and when a reader requests one. A
    /// failed pass proves nothing, and the next one follows after a jittered back-off. However the following ends, the change log
    /// then counts as unreadable.
    pub async fn follow(self, log: Arc<impl ChangeLog>) {
        self.rooms.follower.follow(&*log).await;
    }

    /// Applies a change of this replica. Applying a change twice, late or out of order is harmless. Returns whether the change was
    /// new.
    pub fn apply(&self, change: &Change, incarnation: Incarnation) -> bool {
        self.rooms.applier.apply(Source::Own, change, incarnation)
    }

    /// Applies a commit of this replica and publishes it to the other replicas, before the write is acknowledged. Waits for Redis no
    /// longer than a command may take; the other replicas find in the change log what Redis misses.
    pub async fn wrote(&self, commit: Commit<V>) {
        self.rooms.publisher.publish(commit).await;
    }

    /// Sets who is told of the changes of traced writes elsewhere, once they are applied here. Only the first call counts; returns
    /// whether it was the first.
    pub fn on_traced_changes(&self, observer: impl Fn(TracedChanges) + Send + Sync + 'static) -> bool {
        self.rooms.applier.observe(Box::new(observer))
    }

    /// Removes the copy of a key from L1. Returns whether there was one.
    pub fn delete(&self, name: &str) -> bool {
        self.rooms.applier.delete(name)
    }

    /// Removes every copy from L1.
    pub fn clear(&self) {
        self.reads.l1.clear();
    }

    /// Removes the expired copies from L1. Returns how many.
    pub fn purge_expired(&self) -> u64 {
        self.reads.l1.purge(self.clock().now())
    }

    /// The snapshot and the incarnation up to which every change has been applied; `None` before the first pass.
    pub fn view(&self) -> Option<(Snapshot, Incarnation)> {
        self.validity().view().map(|view| (view.snapshot.clone(), view.incarnation))
    }

    /// Waits until everything that a snapshot saw has been applied, so that reads from here on show it.
    pub async fn wait_until_applied(
        &self,
        snapshot: &Snapshot,
        incarnation: Incarnation,
        at_most: Duration,
    ) -> Result<(), ReadError> {
        self.rooms.commits.reach_snapshot(snapshot, incarnation, at_most).await
    }

    /// How long ago the last successful pass over the change log began; `None` before the first.
    pub fn age_of_last_pass(&self) -> Option<Duration> {
        let looked = self.validity().looked();
        (looked != Moment::NEVER).then(|| self.clock().now().since(looked))
    }

    /// Why the change log misses changes, if the last pass found so. Until the cause is fixed, every read is answered from the
    /// database.
    pub fn incomplete(&self) -> Option<Arc<str>> {
        self.validity().incomplete()
    }

    /// Waits until the change log has been read once.
    pub async fn first_pass(&self) -> Result<(), ReadError> {
        if self.age_of_last_pass().is_some() {
            return Ok(());
        }
        self.rooms.progress.pass(self.config().load_timeout).await
    }
}

/// The other replicas.
impl<V: Value> Cache<V> {
    /// Takes part in the shared tier until the future is dropped: maintains the connections, applies what the bus brings and writes
    /// queued copies. Returns at once where there is no shared tier.
    pub async fn share(self) {
        let Rooms { peers, shared, .. } = &*self.rooms;
        let Some(SharedRooms { l2, subscriber, hot_keys }) = shared else { return };
        tokio::join!(
            l2.run(&self.reads.jitter),
            subscriber.run(),
            hot_keys.contribute(&self.reads.hot_keys),
            peers.announce(),
        );
    }

    /// Sets what the other replicas may call this one, such as its host and port, and the version of its program; each is cut off at
    /// 128 bytes. Only the first call counts; call it before [`share`](Self::share).
    pub fn introduce(&self, name: &str, version: &str) {
        self.rooms.peers.introduce(name, version);
    }

    /// Sets the handler of questions of other replicas, once. Returns whether it was the first. An answer of more than 256 KiB is
    /// dropped, and so is an answer after the deadline of the question.
    pub fn on_question<F, Fut>(&self, answer: F) -> bool
    where
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Bytes> + Send + 'static,
    {
        self.rooms.peers.on_question(answer)
    }

    /// The other replicas over the same Redis that were heard of within a minute, by name. A new replica hears of the others at
    /// once, or within two seconds.
    pub fn replicas(&self) -> Vec<Replica> {
        self.rooms.peers.replicas()
    }

    /// This replica, as the others know it; `None` where there is no Redis.
    pub fn this_replica(&self) -> Option<Replica> {
        self.rooms.peers.this_replica()
    }

    /// Tells the other replicas that this one leaves, so that none waits for it. Also happens when [`share`](Self::share) ends, if
    /// its runtime lives long enough.
    pub async fn leave(&self) {
        self.rooms.peers.leave().await;
    }

    /// Waits until the copies that are queued for Redis have been written, as long as [`share`](Self::share) goes on.
    pub async fn flush(&self) {
        if let Some(shared) = &self.rooms.shared {
            shared.l2.flush().await;
        }
    }

    /// Asks every other replica that is known to be there, and waits for all answers, at most `at_most` (and a minute). A question
    /// has at most 256 KiB. 16 questions are asked concurrently; further ones wait. Without Redis there is nobody to ask.
    pub async fn ask(&self, question: Bytes, at_most: Duration) -> Answers {
        self.rooms.peers.ask(question, at_most).await
    }

    /// Asks every other replica that is known to be there whether it has applied a commit, and waits until all of them have, at most
    /// `at_most`. A replica that needs one makes a pass over the change log for the answer.
    pub async fn confirm(&self, token: Token, at_most: Duration) -> Confirmed {
        self.rooms.peers.confirm(token, at_most).await
    }

    /// Whether messages of the bus arrive; `None` where there is no bus.
    pub fn bus_connected(&self) -> Option<bool> {
        self.rooms.shared.as_ref().map(|shared| shared.subscriber.connected())
    }

    /// The time from sending to applying the last message of the bus, by the clocks of both replicas.
    pub fn bus_lag(&self) -> Duration {
        self.rooms.shared.as_ref().map_or(Duration::ZERO, |shared| shared.subscriber.lag())
    }

    /// Whether another catalogue was found to use the same Redis under the same prefix. Both stay correct, and each receives the
    /// other's changes for nothing.
    pub fn shares_prefix(&self) -> bool {
        self.rooms.shared.as_ref().is_some_and(|shared| shared.subscriber.shares_prefix())
    }

    /// Whether Redis is asked now: it is connected, and the breaker is closed. `None` where there is no Redis.
    pub fn shared_tier_up(&self) -> Option<bool> {
        self.rooms.shared.as_ref().map(|shared| shared.l2.is_up())
    }

    /// The names of the keys that all replicas together read most lately, most read first; at most 20,000. Empty where there is no
    /// Redis, and while Redis is away. A name may occur twice, since other replicas add to the set between two pages.
    pub async fn remembered_hot_keys(&self, most: usize) -> Vec<String> {
        match &self.rooms.shared {
            Some(shared) => shared.hot_keys.top(most).await,
            None => Vec::new(),
        }
    }
}

/// Settings, counts and questions of operators.
impl<V: Value> Cache<V> {
    /// The configuration.
    pub fn config(&self) -> &CacheConfig {
        &self.reads.config
    }

    /// Replaces the policies. Present copies keep their expiry.
    pub fn set_policies(&self, policies: Policies) {
        self.reads.policies.set(policies);
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.reads.policies.get()
    }

    /// The clock that decides what is fresh.
    pub fn clock(&self) -> &Clock {
        &self.reads.clock
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        let (entries, bytes) = self.reads.l1.size();
        Stats { entries, bytes, ..self.counters().read() }
    }

    /// The latencies of loads from the database, and of commands to Redis.
    pub fn latencies(&self) -> (LatencySummary, LatencySummary) {
        (self.counters().load_latency.summary(), self.counters().l2_latency.summary())
    }

    /// How long changes of other replicas and of foreign programs took from their commit until they were applied here, by the clocks
    /// of the database and of this replica.
    pub fn commit_to_learned(&self) -> CommitToLearned {
        self.counters().commit_to_learned()
    }

    /// The keys that are read most at present, by estimate, most read first; at most 1,000.
    pub fn hot_keys(&self, most: usize) -> Vec<HotKey> {
        self.reads.hot_keys.top(most, self.clock().now())
    }

    /// The changes applied after the one of a number, oldest first; of all changes, the last 200 are kept.
    pub fn recent_changes(&self, after: u64) -> Vec<RecentChange> {
        self.rooms.recent.after(after)
    }

    /// The number of the newest applied change, with word of each newer one; 0 before the first.
    pub fn newest_change(&self) -> watch::Receiver<u64> {
        self.rooms.recent.newest()
    }

    /// Finds what a change would drop from L1 now, with the names of at most `most` copies. Copies that are invalid already do not
    /// count, nor do copies that merely share a stripe with a key.
    ///
    /// Unless the change names one key, every copy is examined, at some 0.8 µs each and without a lock: call this on a thread that
    /// may block.
    pub fn dry_run(&self, subject: &Subject, most: usize) -> DryRun {
        admin::dry_run(&self.reads.l1, self.validity(), subject, most)
    }

    /// What L1 holds of a key.
    pub fn inspect_l1(&self, name: &str) -> Option<Inspected> {
        self.inspector().l1(name)
    }

    /// What L2 holds of a key.
    pub async fn inspect_l2(&self, key: &Key) -> Result<Option<Inspected>, Unreachable> {
        self.inspector().l2(key).await
    }

    /// The trace of the last change that touched the copy of a key, if that change is remembered and its write was traced. `terms` are
    /// those of an item.
    pub fn last_trace(&self, key: &Key, terms: &[String]) -> Option<u128> {
        self.rooms.applier.causes().trace_of(&key.name, key.term.as_deref(), terms)
    }

    /// Writes a copy into L1 and reads it back. Returns how long that took.
    pub fn probe_l1(&self) -> Result<Duration, Unreachable> {
        self.inspector().probe_l1()
    }

    /// Writes a value into Redis and reads it back. Returns how long that took; `None` where there is no Redis.
    pub async fn probe_l2(&self) -> Option<Result<Duration, Unreachable>> {
        self.inspector().probe_l2().await
    }

    /// The output of INFO of Redis, of each master of a cluster: lines of `name:value`. `None` where there is no Redis or Redis is
    /// away.
    pub async fn shared_tier_info(&self) -> Option<Vec<String>> {
        self.inspector().redis_info().await
    }

    fn inspector(&self) -> Inspector<'_, V> {
        Inspector(&self.reads)
    }

    fn counters(&self) -> &Counters {
        &self.reads.counters
    }

    fn validity(&self) -> &Validity {
        &self.reads.validity
    }

    #[cfg(test)]
    pub(crate) fn reads(&self) -> &ReadPath<V> {
        &self.reads
    }
}
