//! Reads: from L1 alone, or through L2 and the database where L1 has no copy to serve.

mod absences;
mod breaker;
mod get;
mod get_or_load;
mod loader;
mod prefetch;
mod read_through;
mod request;
mod single_flight;
mod snapshot;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::{
    changelog::Progress,
    config::{ActivePolicies, CacheConfig},
    hot_keys::{HotKeySketch, Prefetch},
    l1::L1,
    l2::L2,
    stats::Counters,
    time::{Clock, Jitter},
    turns::Turns,
    validity::Validity,
};

pub(crate) use self::{
    absences::SharedAbsences, breaker::Breaker, get::Verdict, loader::Storage, single_flight::SingleFlight,
};
pub use self::{
    get::Reader,
    request::{Found, Freshness, Key, Loaded, ReadOptions},
};

/// The path of a read through the tiers.
pub(crate) struct ReadPath<V> {
    pub(crate) config: CacheConfig,
    pub(crate) policies: ActivePolicies,
    pub(crate) clock: Clock,
    pub(crate) jitter: Arc<Jitter>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) validity: Arc<Validity>,
    pub(crate) l1: Arc<L1<V>>,
    /// `None` where there is no Redis.
    pub(crate) l2: Option<Arc<L2>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) hot_keys: Arc<HotKeySketch>,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) single_flight: Arc<SingleFlight<V>>,
    pub(crate) turns: Arc<Turns>,
    /// Of the database.
    pub(crate) breaker: Breaker,
    pub(crate) absences: SharedAbsences,
    /// Runs the loads, so that no load ends with the reader who started it.
    pub(crate) runtime: Handle,
}
