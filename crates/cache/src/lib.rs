//! Copies of what a database holds, and the knowledge that keeps them right.
//!
//! The crate knows no product and no database. Whoever uses it
//! 1. makes a [`Cache`] over a [`Value`],
//! 2. lets it [follow](Cache::follow) a [`ChangeLog`],
//! 3. reads through [`Cache::get`] and [`Cache::get_or_load`],
//! 4. tells it of its own writes by [`Cache::learn`] before it acknowledges them.
//!
//! A copy is served if nothing that touches it was learned since before it was read, and everything up to a moment within
//! the staleness bound has been learned. The idea is that of `TxCache` (Ports et al., "Transactional Consistency and
//! Automatic Management in an Application Data Cache", OSDI 2010).

mod admin;
mod bus;
mod cache;
mod change;
mod changelog;
mod clock;
mod config;
mod error;
mod hot_keys;
mod jitter;
mod l1;
mod l2;
mod peers;
mod policy;
mod read;
mod stats;
mod validity;

pub use admin::{CopyState, DryRun, Inspected, Unreachable};
pub use cache::{Cache, WeakCache};
pub use change::{ANY, Change, Changes, Incarnation, LogBatch, Recall, Recalled, Snapshot, Subject, Term, Witness};
pub use changelog::ChangeLog;
pub use clock::{Clock, Moment};
pub use config::{CacheConfig, Eviction, SharedConfig, WritePolicy};
pub use error::{LoadError, ReadError};
pub use hot_keys::HotKey;
pub use l1::{Entry, Facts, Value};
pub use l2::check_shared_url;
pub use peers::{Answers, Confirmed, Replica};
pub use policy::{Policies, Policy, PolicyConfig};
pub use read::{Commit, Found, Freshness, Key, Loaded, ReadOptions, Reader, Tier, Token};
pub use stats::{
    Counter, Counters, InvalidationCounters, InvalidationCounts, Latencies, LatencySummary, Stats, SubjectCounts,
};
pub use validity::{Glob, GlobError, Rule};
