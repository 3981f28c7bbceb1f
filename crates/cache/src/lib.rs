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

mod ageing;
mod ask;
mod behind;
mod bus;
mod cache;
mod change;
mod clock;
mod config;
mod error;
mod fetch;
mod flight;
mod follower;
mod frame;
mod glob;
mod hot;
mod hot_shared;
mod inspect;
mod jitter;
mod knowledge;
mod l1;
mod l2;
mod latency;
mod learn;
mod learned;
mod lease;
mod lives;
mod load;
mod lookup;
mod matching;
mod memory;
mod message;
mod policy;
mod prefetch;
mod read;
mod reader;
mod replicas;
mod rules;
mod seen;
mod stats;
mod talk;
mod term;
mod together;
mod tokens;
mod view;
mod wire;
mod witness;

pub use ask::{Answers, Confirmed};
pub use cache::{Cache, WeakCache};
pub use change::{Change, Incarnation, News, Pass, Recall, Recalled, Snapshot, Subject, Witness};
pub use clock::{Clock, Moment};
pub use config::{CacheConfig, Eviction, SharedConfig, WritePolicy};
pub use error::{LoadError, ReadError};
pub use follower::ChangeLog;
pub use glob::{Glob, GlobError};
pub use hot::HotKey;
pub use inspect::{CopyState, Inspected, Unreachable};
pub use l1::{Entry, Facts, Value};
pub use l2::check_shared_url;
pub use latency::{Latencies, LatencySummary};
pub use learned::{Kinds, Learned, LearnedCounters};
pub use matching::Matching;
pub use policy::{Policies, Policy, PolicyConfig};
pub use read::{Commit, Found, Freshness, Key, Loaded, ReadOptions, Tier, Token};
pub use reader::Reader;
pub use replicas::Replica;
pub use rules::Rule;
pub use stats::{Counter, Counters, Stats};
pub use term::{ANY, Term};
