//! The settings of the cache.

mod frame_key;
mod policy;

use std::{fmt, path::PathBuf, time::Duration};

pub(crate) use self::policy::ActivePolicies;
pub use self::{
    frame_key::FrameKey,
    policy::{Policies, Policy, PolicyConfig},
};

/// Sizes, times and limits of the cache. [`Default`] returns the documented defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Small entries that fit into L1. An entry weighs its bytes, or `l1_bytes / l1_entries` if that is more.
    pub l1_entries: u64,
    /// Bytes of keys and values that fit into L1, without the bookkeeping of each entry.
    pub l1_bytes: u64,
    /// Which entry is evicted when L1 is full.
    pub eviction: Eviction,
    /// The budget for prefetching: unread prefetched copies, as a share of the copies that readers had loaded, from 0 to 1;
    /// 0 turns prefetching off.
    pub prefetch: f64,
    /// Absent keys that L1 remembers as absent.
    pub not_found_entries: u64,
    /// How copies are kept, by kind.
    pub policies: Policies,
    /// A read that begins more than this long after the acknowledgement of a write returns that write or a newer one.
    pub staleness_bound: Duration,
    /// How long after the last proof of freshness a copy may be served, marked stale, while the database is unavailable.
    pub max_stale: Duration,
    /// Concurrent loads.
    pub max_loads: usize,
    /// Loads that may wait for a free slot; further loads are refused.
    pub max_waiting_loads: usize,
    /// How long a load may take, including the wait for a slot.
    pub load_timeout: Duration,
    /// Changes that one pass may apply one by one; a longer pass drops every copy instead.
    pub max_changes_per_pass: u32,
    /// The tier that replicas share; without it every replica loads for itself.
    pub shared: Option<SharedConfig>,
}

/// The shared tier, L2, and the bus: one Redis or Valkey.
#[derive(Clone, PartialEq)]
pub struct SharedConfig {
    /// The address: `redis://[user:password@]host[:port][/db]`, `redis-sentinel://[user:password@]host[:port],…/name[/db]`, or
    /// `redis-cluster://[user:password@]host[:port],…`; with `rediss` instead of `redis` for TLS.
    pub url: String,
    /// The authorities in PEM that vouch for a server at `rediss://`; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The prefix of every key and channel, so that several catalogues can share one Redis.
    pub prefix: String,
    /// Connections for commands; each multiplexes many commands. The bus has its own connection.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a command may take.
    pub command_timeout: Duration,
    /// How long a lease, the right to load a key for all replicas, lasts.
    pub lease: Duration,
    /// What a write does to the copy in L2.
    pub write: WritePolicy,
    /// The keys that close copies in L2, so that nobody without a key can make one: the first closes, all are accepted. Without keys
    /// a checksum guards against damage alone.
    pub frame_keys: Vec<FrameKey>,
    /// The largest payload that is stored, in bytes.
    pub max_payload: usize,
    /// Bus messages that may wait to be applied; the follower finds what the queue drops.
    pub bus_queue: usize,
    /// Keys and terms whose last change is remembered individually.
    pub remembered: usize,
}

/// What a write does to the copy in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WritePolicy {
    /// Stores the new copy before the write is acknowledged.
    #[default]
    Through,
    /// Notifies the other replicas without storing a copy; the next reader loads.
    Invalidate,
    /// Stores the new copy in the background, soon after the acknowledgement. The write to the database is never deferred.
    Behind,
}

impl CacheConfig {
    /// How long a load may be without an answer until the database counts as unavailable: readers then get a stale copy, if there is
    /// one that may be served, while the load goes on. Longer than a load takes that finds its connection dead and is repeated on
    /// another.
    pub(crate) fn soft_load_timeout(&self) -> Duration {
        self.load_timeout / 4 * 3
    }
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            ca: None,
            prefix: "larder".to_owned(),
            connections: 2,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(100),
            lease: Duration::from_secs(3),
            write: WritePolicy::Through,
            frame_keys: Vec::new(),
            max_payload: 1 << 20,
            bus_queue: 4_096,
            remembered: 200_000,
        }
    }
}

/// Omits the URL, which may hold a password.
impl fmt::Debug for SharedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConfig")
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("command_timeout", &self.command_timeout)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            l1_entries: 100_000,
            l1_bytes: 256 << 20,
            eviction: Eviction::Lru,
            prefetch: 0.1,
            not_found_entries: 10_000,
            policies: Policies::default(),
            staleness_bound: Duration::from_secs(1),
            max_stale: Duration::from_mins(5),
            max_loads: 64,
            max_waiting_loads: 4_096,
            load_timeout: Duration::from_secs(2),
            max_changes_per_pass: 10_000,
            shared: None,
        }
    }
}

/// Which entry is evicted when L1 is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used entry. The default: on traces of web shops it yields more hits than `TinyLFU`.
    #[default]
    Lru,
    /// The least frequently used entry, by a frequency sketch (`TinyLFU`: Einziger, Friedman, Manes, 2017).
    TinyLfu,
}
