//! Invalidations that somebody asks for: by hand, from a webhook or from a queue. They are rows of the change log, so that none
//! is lost whatever becomes of this process or of Redis, and nothing is scanned.

use std::time::Duration;

use larder_cache::{Confirmed, Glob, Matching, Subject, Token};
use larder_storage::{self as storage, ProductRepository as _, StorageError};

use super::{Catalog, follow::key_name};
use crate::contract::Stamp;

/// What is to be dropped of the copies on every tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// The copy of one key, by its name or by the id of a product; not empty and without a NUL.
    Key(String),
    /// The copies of everything with a tag; not empty and without a NUL.
    Tag(String),
    /// The copies of every key whose name matches.
    Pattern(Glob),
    /// Every copy.
    All,
}

/// A committed invalidation. This replica has learned of it, and the others have been told over the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidated {
    /// Names the commit: whoever has seen it serves nothing that was to be dropped.
    pub token: Token,
    /// Every change of a lower id was finished when it was made.
    pub horizon: u64,
}

impl Invalidated {
    /// What whoever asked is told of the commit.
    pub fn stamp(&self) -> Stamp {
        Stamp { token: self.token, horizon: self.horizon }
    }
}

impl Catalog {
    /// Has copies dropped, up to 1,000 of these in one commit.
    pub async fn invalidate(&self, invalidations: Vec<Invalidation>) -> Result<Invalidated, StorageError> {
        let rows: Vec<_> = invalidations.into_iter().map(row).collect();
        let written = self.write(|repository| async move { repository.invalidate(&rows).await }, |()| None).await?;
        match written.token {
            Some(token) => Ok(Invalidated { token, horizon: written.horizon }),
            None => Err(StorageError::Database("an invalidation has no commit".into())),
        }
    }

    /// Asks the other replicas whether they have learned of a commit. What they have not learned within `at_most` they learn
    /// within the staleness bound, or serve nothing that is not marked stale.
    pub async fn confirmed(&self, token: Token, at_most: Duration) -> Confirmed {
        self.cache.confirm(token, at_most).await
    }

    /// What an invalidation would drop of this replica's L1 now, with the names of at most `most` copies.
    pub async fn would_invalidate(&self, invalidation: Invalidation, most: usize) -> Matching {
        let cache = self.cache.clone();
        let look = move || cache.matching(&subject(invalidation), most);
        // Thousands of entries are looked at.
        self.runtime.spawn_blocking(look).await.unwrap_or_default()
    }
}

fn row(invalidation: Invalidation) -> storage::Invalidation {
    match invalidation {
        Invalidation::Key(key) => storage::Invalidation::Key(key),
        Invalidation::Tag(tag) => storage::Invalidation::Tag(tag),
        Invalidation::Pattern(glob) => storage::Invalidation::Pattern(glob.as_str().to_owned()),
        Invalidation::All => storage::Invalidation::All,
    }
}

/// As the change log will tell it.
fn subject(invalidation: Invalidation) -> Subject {
    match invalidation {
        Invalidation::Key(key) => Subject::Key(key_name(key)),
        Invalidation::Tag(tag) => Subject::Tag(tag),
        Invalidation::Pattern(glob) => Subject::Pattern(glob.as_str().to_owned()),
        Invalidation::All => Subject::All,
    }
}
