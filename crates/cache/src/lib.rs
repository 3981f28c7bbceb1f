//! Copies of what a database holds, kept coherent with it.
//!
//! The crate knows no product and no database. To use it,
//! 1. create a [`Cache`] over a [`Value`],
//! 2. let it [follow](Cache::follow) a [`ChangeLog`],
//! 3. read through [`Cache::get`] and [`Cache::get_or_load`],
//! 4. [apply](Cache::apply) your own writes before you acknowledge them.
//!
//! A copy is served if no change that touches the copy was applied since the copy was read, and if every change up to a moment
//! within the staleness bound has been applied. The idea is that of `TxCache` (Ports et al., "Transactional Consistency and
//! Automatic Management in an Application Data Cache", OSDI 2010).

mod admin;
mod bus;
mod cache;
mod changelog;
mod config;
mod error;
mod hot_keys;
mod l1;
mod l2;
mod peers;
mod read;
mod stats;
mod time;
pub mod trace;
mod turns;
mod validity;

pub use admin::{CopyState, DryRun, Inspected, Unreachable};
pub use bus::Commit;
pub use cache::{Cache, WeakCache};
pub use changelog::ChangeLog;
pub use config::{CacheConfig, Eviction, FrameKey, Policies, Policy, PolicyConfig, SharedConfig, WritePolicy};
pub use error::{LoadError, ReadError};
pub use hot_keys::HotKey;
pub use l1::{Entry, Facts, Tier, Value};
pub use l2::{check_shared_url, shared_client};
pub use larder_change::{ANY, Cause, Incarnation, Lineage, Recall, Recalled, Snapshot, Term, Token, Witness};
pub use peers::{Answers, Confirmed, Replica};
pub use read::{Found, Freshness, Key, Loaded, ReadOptions, Reader};
pub use stats::metrics::{BUS_METRICS, CHANGE_METRICS, L2_METRICS, LOAD_METRICS, TIER_METRICS};
pub use stats::{
    BOUNDS, CommitToLearned, Distribution, Exemplar, InvalidationCounts, Kind, Label, LatencySummary, Metric, Reading,
    Sample, Stats, SubjectCounts, Unit,
};
pub use time::{Clock, Moment};
pub use turns::{TooMany, Turn, Turns};
pub use validity::{Change, ChangeSource, Changes, Glob, GlobError, LogBatch, RecentChange, Subject, TracedChanges};

/// What fuzzing calls: one function for each parser of bytes from outside. Each takes any bytes, and panics where the parser breaks
/// one of its promises.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        bus::codec::fuzzing::bus_message,
        l2::{codec::fuzzing::frame, lease::fuzzing::lease},
        peers::codec::fuzzing::peer_message,
        validity::pattern::fuzzing::glob,
    };
}
