//! What a reader asks for and what it gets.

use std::{sync::Arc, time::Duration};

use crate::{Change, Entry, Incarnation, Witness};

/// A key to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, the same on every tier.
    pub name: Box<str>,
    /// What its copy depends on: for a list a term; `None` for an item, which depends on itself.
    pub term: Option<Box<str>>,
}

/// What a reader asks for besides the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Lowers how stale a copy may be that is served while the database is away; zero refuses stale copies.
    pub max_stale: Option<Duration>,
    /// Answers from copies or not at all.
    pub cache_only: bool,
}

/// Which state a read must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any within the staleness bound.
    MinimizeLatency,
    /// That of a commit, or a later one.
    AtLeast(Token),
    /// Everything acknowledged before the read began.
    FullyConsistent,
}

/// Names a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Of which database.
    pub incarnation: Incarnation,
    /// Whoever sees a change of this id sees the commit.
    pub id: u64,
    /// Of a change that the commit made: another life of the database has the commit if it has that very change.
    pub salt: u64,
}

/// What a read found.
#[derive(Debug)]
pub struct Found<V> {
    /// The copy.
    pub entry: Arc<Entry<V>>,
    /// Where it came from.
    pub tier: Tier,
    /// Whether it may be past the staleness bound, or is past its deadline, and is served because the database is away; or
    /// whether it was loaded from another database than the one followed. A reader who asked for the state of a commit or
    /// a later one must not take the second: [`ReadOptions::max_stale`] of zero refuses both.
    pub stale: bool,
}

/// A tier of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Memory of this process.
    L1,
    /// Redis, shared by all replicas.
    L2,
    /// The database.
    Database,
}

/// What a load returns.
#[derive(Debug)]
pub struct Loaded<V> {
    /// The values, in the order of the keys; `None` for what does not exist.
    pub values: Vec<Option<V>>,
    /// Of which database they are; `None` when that could not be told: they are served, not stored.
    pub incarnation: Option<Incarnation>,
    /// Every change below this id was seen, and its transaction had ended.
    pub horizon: u64,
    /// The newest change that was seen, as [`Snapshot::witness`](crate::Snapshot::witness) tells it.
    pub witness: Option<Witness>,
}

/// What a write committed.
#[derive(Debug)]
pub struct Commit<V> {
    /// To which database.
    pub incarnation: Incarnation,
    /// Every change below this id was seen by the statement that read back what was written, and its transaction had ended.
    pub horizon: u64,
    /// The newest change that it made, where one stands for all before it.
    pub witness: Option<Witness>,
    /// What changed.
    pub changes: Vec<Change>,
    /// What items are now, by key; those that are gone, or that nobody read back, are not among them.
    pub items: Vec<(Box<str>, V)>,
}

impl<V> Found<V> {
    pub(crate) fn fresh(entry: Arc<Entry<V>>) -> Self {
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
