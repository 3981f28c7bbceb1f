//! What a reader asks for, and what a read returns.

use std::{sync::Arc, time::Duration};

use larder_change::{Incarnation, Token, Witness};

use crate::l1::{Entry, Tier};

/// A key to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name of the key, the same on every tier.
    pub name: Box<str>,
    /// The term on which a list depends; `None` for an item, which depends on itself.
    pub term: Option<Box<str>>,
}

/// The options of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Lowers the limit on the staleness of copies that are served while the database is unavailable; zero refuses stale copies.
    pub max_stale: Option<Duration>,
    /// Answers from copies or not at all.
    pub cache_only: bool,
}

/// The state of the database that a read must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any state within the staleness bound.
    MinimizeLatency,
    /// The state of a commit, or a later one.
    AtLeast(Token),
    /// Everything acknowledged before the read began.
    FullyConsistent,
}

/// The result of a read.
#[derive(Debug)]
pub struct Found<V> {
    /// The copy.
    pub entry: Arc<Entry<V>>,
    /// The tier that the copy came from.
    pub tier: Tier,
    /// Whether the copy may be older than the staleness bound or has expired, and is served because the database is unavailable;
    /// or whether the copy was loaded from a database other than the followed one. A reader who demands the state of a commit must
    /// not accept the latter: [`ReadOptions::max_stale`] of zero refuses both.
    pub stale: bool,
}

/// The result of a load.
#[derive(Debug)]
pub struct Loaded<V> {
    /// The values, in the order of the keys; `None` for a value that does not exist.
    pub values: Vec<Option<V>>,
    /// The incarnation of the database. `None` if the database cannot tell: the values are served and not stored.
    pub incarnation: Option<Incarnation>,
    /// The load saw every change below this id, and the transactions of those changes had ended.
    pub horizon: u64,
    /// The newest change that the load saw, as told by [`Snapshot::witness`](crate::Snapshot::witness).
    pub witness: Option<Witness>,
}

impl<V> Found<V> {
    pub(super) fn fresh(entry: Arc<Entry<V>>) -> Self {
        Self { entry, tier: Tier::L1, stale: false }
    }
}

impl Key {
    /// An item, which depends on itself.
    pub fn item(name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), term: None }
    }

    /// A list, which depends on a term.
    pub fn list(name: impl Into<Box<str>>, term: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), term: Some(term.into()) }
    }
}
