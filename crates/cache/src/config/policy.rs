//! Policies: how long and where copies are kept, by kind.
//!
//! A policy does not decide whether a copy is right; the change log does. A time to live bounds memory and the lifetime of
//! mistakes.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// The kind of a copy, which selects its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One item.
    Item,
    /// One page of a list.
    List,
    /// One page of a search.
    Search,
}

/// The policy of each kind of copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Items.
    pub item: PolicyConfig,
    /// Pages of lists.
    pub list: PolicyConfig,
    /// Pages of searches.
    pub search: PolicyConfig,
    /// Records that a key does not exist.
    pub not_found: PolicyConfig,
}

/// How copies of one kind are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    /// Whether copies are kept in L1.
    pub l1: bool,
    /// Whether copies are kept in L2, if there is one.
    pub l2: bool,
    /// Time to live in L1.
    pub ttl: Duration,
    /// Time to live in L2.
    pub l2_ttl: Duration,
    /// The largest share of the time to live, from 0 to 1, by which a copy expires early. The share is drawn at random, so that
    /// copies made together do not expire together.
    pub jitter: f64,
    /// Sliding expiration: a copy expires when it has not been read for this long. `None`: never.
    pub idle: Option<Duration>,
    /// Probabilistic early refresh (`XFetch`: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
    /// Prevention", VLDB 2015): the factor beta. A larger factor refreshes earlier; 0: never.
    pub early_refresh: f64,
    /// Eager refresh: the share of the time to live after which a read reloads the copy in the background; 1: never.
    pub refresh_after: f64,
    /// How long after the last proof of freshness a copy may be served, marked stale, while the database is unavailable.
    /// `None`: as long as [`CacheConfig::max_stale`](crate::CacheConfig::max_stale) allows.
    pub max_stale: Option<Duration>,
    /// The largest copy that is kept, in bytes.
    pub max_bytes: usize,
    /// The smallest copy that is compressed in L2, in bytes. At 1 KiB a product shrinks by a third, for some 9 µs per write and
    /// 3 µs per read; smaller copies gain little.
    pub compress_from: usize,
}

impl Policies {
    /// The policy of a copy, by its kind and by whether its value exists.
    pub fn of(&self, policy: Policy, exists: bool) -> &PolicyConfig {
        if exists { self.of_value(policy) } else { &self.not_found }
    }

    /// The policy of copies whose values exist.
    pub(crate) fn of_value(&self, policy: Policy) -> &PolicyConfig {
        match policy {
            Policy::Item => &self.item,
            Policy::List => &self.list,
            Policy::Search => &self.search,
        }
    }

    /// All four policies.
    pub fn each_mut(&mut self) -> [&mut PolicyConfig; 4] {
        [&mut self.item, &mut self.list, &mut self.search, &mut self.not_found]
    }
}

impl Default for Policies {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        let of = |ttl, l2_ttl| PolicyConfig { ttl, l2_ttl, ..PolicyConfig::default() };
        Self {
            item: of(minutes(10), minutes(30)),
            list: of(minutes(1), minutes(5)),
            search: of(minutes(1), minutes(5)),
            not_found: PolicyConfig { early_refresh: 0.0, ..of(Duration::from_secs(10), Duration::from_secs(10)) },
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            l1: true,
            l2: true,
            ttl: Duration::from_mins(10),
            l2_ttl: Duration::from_mins(30),
            jitter: 0.1,
            idle: None,
            early_refresh: 1.0,
            refresh_after: 1.0,
            max_stale: None,
            max_bytes: 1 << 20,
            compress_from: 1_024,
        }
    }
}

/// The policies in force, which a reload of the configuration replaces.
#[derive(Debug)]
pub(crate) struct ActivePolicies(RwLock<Arc<Policies>>);

impl ActivePolicies {
    pub(crate) fn new(policies: Policies) -> Self {
        Self(RwLock::new(Arc::new(policies)))
    }

    pub(crate) fn get(&self) -> Arc<Policies> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, policies: Policies) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
    }
}
