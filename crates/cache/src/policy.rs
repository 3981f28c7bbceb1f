//! Named policies: how copies are kept, by what they are.
//!
//! None of it decides whether a copy is right; that is the business of the change log. A time to live bounds memory and the life
//! of mistakes.

use std::time::Duration;

/// What a copy is, and so how it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One item.
    Item,
    /// One page of a list.
    List,
    /// One page of a search.
    Search,
}

/// How copies are kept, by what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Items.
    pub item: PolicyConfig,
    /// Pages of lists.
    pub list: PolicyConfig,
    /// Pages of searches.
    pub search: PolicyConfig,
    /// The knowledge that something does not exist.
    pub not_found: PolicyConfig,
}

/// How copies of one kind are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    /// Whether they are kept in L1.
    pub l1: bool,
    /// Whether they are kept in L2, where there is one.
    pub l2: bool,
    /// How long one lives in L1.
    pub ttl: Duration,
    /// How long one lives in L2.
    pub l2_ttl: Duration,
    /// The share of its time by which a copy may expire early, chosen at random, so that copies made together do not expire
    /// together: from 0 to 1.
    pub jitter: f64,
    /// Sliding expiration: one that is not read for so long expires, however much of its time is left. `None`: never.
    pub idle: Option<Duration>,
    /// Probabilistic early refresh (`XFetch`: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
    /// Prevention", VLDB 2015): the factor beta, larger for earlier; 0: never.
    pub early_refresh: f64,
    /// Eager refresh: the share of its time after which a copy that is read is loaded anew in the background; 1: never.
    pub refresh_after: f64,
    /// How long after the last proof of freshness one may still be served, marked stale, while the database is away. `None`: as
    /// long as any.
    pub max_stale: Option<Duration>,
    /// The largest one that is kept, in bytes.
    pub max_bytes: usize,
    /// The least size from which it is compressed in L2, in bytes. At 1 KiB a product shrinks by a third, for some 9 µs to write
    /// and 3 µs to read; below that little is gained.
    pub compress_from: usize,
}

impl Policies {
    /// How a copy is kept, by what it is and whether it says that there is nothing.
    pub fn of(&self, policy: Policy, exists: bool) -> &PolicyConfig {
        match policy {
            _ if !exists => &self.not_found,
            Policy::Item => &self.item,
            Policy::List => &self.list,
            Policy::Search => &self.search,
        }
    }

    /// All of them.
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
            not_found: PolicyConfig { early_refresh: 0.0, ..of(Duration::from_secs(10), minutes(1)) },
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
