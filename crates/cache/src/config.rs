//! What an operator decides about the cache.

use std::{fmt, time::Duration};

use crate::Policies;

/// Sizes, times and limits of the cache. [`Default`] gives the documented defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Entries that fit into L1 when each is small. An entry weighs the larger of its bytes and `l1_bytes / l1_entries`.
    pub l1_entries: u64,
    /// Bytes of keys and values that fit into L1; the bookkeeping of each entry comes on top.
    pub l1_bytes: u64,
    /// Which entry goes when L1 is full.
    pub eviction: Eviction,
    /// How much is loaded before somebody asks for it: copies that nobody then reads, as a share of those that readers had
    /// loaded, from 0 to 1; 0 turns it off.
    pub prefetch: f64,
    /// How many absent keys are remembered as absent.
    pub not_found_entries: u64,
    /// How copies are kept, by what they are.
    pub policies: Policies,
    /// A read that begins more than this long after a write was acknowledged returns that write or something newer.
    pub staleness_bound: Duration,
    /// How long after the last proof of freshness a copy may still be served, marked stale, while the database is away.
    pub max_stale: Duration,
    /// Loads under way at once.
    pub max_loads: usize,
    /// Loads that may wait for one of those; more are refused.
    pub max_waiting_loads: usize,
    /// How long a load may take, the wait for its turn included.
    pub load_timeout: Duration,
    /// Changes that a follower takes one by one from a pass; after more of them everything is dropped instead.
    pub max_changes_per_pass: u32,
    /// The tier that replicas share; without it each loads for itself.
    pub shared: Option<SharedConfig>,
}

/// The shared tier, L2, and the bus: one Redis or Valkey.
#[derive(Clone, PartialEq)]
pub struct SharedConfig {
    /// Where: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: String,
    /// What every key and channel begins with, so that several catalogues can share one Redis.
    pub prefix: String,
    /// Connections for commands; each carries many at once. The bus has one of its own.
    pub connections: usize,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long a command may take.
    pub command_timeout: Duration,
    /// How long one replica has the right to load a key for all.
    pub lease: Duration,
    /// What a write does to the shared copy.
    pub write: WritePolicy,
    /// The largest payload that is stored, in bytes.
    pub max_payload: usize,
    /// Messages of the bus that wait to be learned; the follower finds what comes on top.
    pub bus_queue: usize,
    /// Keys and terms of which it is remembered one by one when they last changed.
    pub remembered: usize,
}

/// What a write does to the shared copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WritePolicy {
    /// Puts the new copy in its place before the write is acknowledged.
    #[default]
    Through,
    /// Only tells the other replicas; the next reader loads.
    Invalidate,
    /// Puts the new copy in its place a little later, in the background. Copies only: the write itself is never behind.
    Behind,
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            prefix: "larder".to_owned(),
            connections: 2,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(100),
            lease: Duration::from_secs(3),
            write: WritePolicy::Through,
            max_payload: 1 << 20,
            bus_queue: 4_096,
            remembered: 200_000,
        }
    }
}

/// Without the URL, which may hold a password.
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
            load_timeout: Duration::from_secs(10),
            max_changes_per_pass: 10_000,
            shared: None,
        }
    }
}

/// Which entry goes when L1 is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The one unused for longest. The default: on traces of web shops it keeps more hits than `TinyLFU`.
    #[default]
    Lru,
    /// The one used least, by a sketch of frequencies (`TinyLFU`: Einziger, Friedman, Manes, 2017).
    TinyLfu,
}
