//! Invalidations on request: of an operator, a webhook or a queue. Each is a row of the change log, so that it survives the loss of
//! this process and of Redis, and needs no scan.

use std::{sync::Arc, time::Duration};

use larder_cache::{Confirmed, DryRun, Glob, Subject};
use larder_change::{Term, Token};
use larder_storage::{self as storage, Invalidating, ProductRepository as _, Repository, StorageError};

use super::{Catalog, subject::key_name, turns::Rank};
use crate::contract::Stamp;

/// The copies to drop on every tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// The copy of one key, by its name or by the id of a product; not empty and without a NUL.
    Key(String),
    /// The copies of everything in a category or with a tag, which is not empty and without a NUL.
    Term(Term),
    /// The copies of every key whose name matches.
    Pattern(Glob),
    /// Every copy.
    All,
}

/// A committed invalidation. This replica has applied it, and the bus has told the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidated {
    /// Names the commit: a replica that has seen it serves none of the dropped copies.
    pub token: Token,
    /// Every change with a lower id was finished before the invalidation.
    pub horizon: u64,
}

impl Invalidated {
    /// The token of the commit for the reply.
    pub fn stamp(&self) -> Stamp {
        Stamp { token: self.token, horizon: self.horizon }
    }
}

impl Catalog {
    /// Drops copies, with up to 1,000 invalidations in one commit.
    pub async fn invalidate(&self, invalidations: Vec<Invalidation>) -> Result<Invalidated, StorageError> {
        let rows: Vec<_> = invalidations.into_iter().map(row).collect();
        let written = self
            .write(
                Rank::Invalidation,
                "INSERT changes",
                |repository| async move { repository.invalidate(&rows).await },
                |()| None,
            )
            .await?;
        match written.token {
            Some(token) => Ok(Invalidated { token, horizon: written.horizon }),
            None => Err(StorageError::Database("an invalidation has no commit".into())),
        }
    }

    /// Drops copies once for each request id within a day, on whichever replica the request arrives again. Of requests that were
    /// `signed` in the same second, and so may be copies of each other, one counts.
    pub async fn invalidate_once(
        &self,
        request_id: String,
        signed: u64,
        invalidations: Vec<Invalidation>,
    ) -> Result<Invalidating, StorageError> {
        let rows: Vec<_> = invalidations.into_iter().map(row).collect();
        let write = move |repository: Arc<Repository>| async move {
            repository.invalidate_once(&request_id, signed, &rows).await
        };
        Ok(self.write(Rank::Invalidation, "INSERT changes", write, |_| None).await?.value)
    }

    /// Asks the other replicas whether they have applied a commit. A replica that has not applied it within `at_most` applies it
    /// within the staleness bound, or else serves only copies that are marked stale.
    pub async fn confirmed(&self, token: Token, at_most: Duration) -> Confirmed {
        self.cache.confirm(token, at_most).await
    }

    /// The number of copies that an invalidation would drop from this replica's L1 now, with the names of at most `most`.
    pub(crate) async fn would_invalidate(&self, invalidation: Invalidation, most: usize) -> DryRun {
        let cache = self.cache.clone();
        let look = move || cache.dry_run(&subject(invalidation), most);
        // This inspects thousands of entries.
        self.runtime.spawn_blocking(look).await.unwrap_or_default()
    }
}

fn row(invalidation: Invalidation) -> storage::Invalidation {
    match invalidation {
        Invalidation::Key(key) => storage::Invalidation::Key(key),
        Invalidation::Term(term) => storage::Invalidation::Term(term),
        Invalidation::Pattern(glob) => storage::Invalidation::Pattern(glob.as_str().to_owned()),
        Invalidation::All => storage::Invalidation::All,
    }
}

/// The subject in the change log.
fn subject(invalidation: Invalidation) -> Subject {
    match invalidation {
        Invalidation::Key(key) => Subject::Key(key_name(key)),
        Invalidation::Term(term) => Subject::Term(term.to_string()),
        Invalidation::Pattern(glob) => Subject::Pattern(glob.as_str().to_owned()),
        Invalidation::All => Subject::All,
    }
}

#[cfg(test)]
mod tests {
    use larder_cache::{Cache, CacheConfig, Clock, Freshness};
    use larder_storage::{ProductData, StorageConfig, WriteOptions};
    use tokio::runtime::Handle;

    use super::*;
    use crate::contract::{Read, parse_id};

    #[tokio::test]
    async fn each_kind_drops_what_it_names() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("larder.db").display());
        let repository = Arc::new(Repository::connect(&StorageConfig::new(url)).await.unwrap());
        let cache = Cache::new(CacheConfig::default(), Clock::system(), Handle::current(), 1);
        let catalog = Catalog::new(cache.clone(), repository, Handle::current());
        let follower = tokio::spawn(cache.clone().follow(Arc::new(catalog.log())));
        cache.first_pass().await.unwrap();
        for (id, category, tag) in [("a", "hats", "summer"), ("b", "summer", "winter")] {
            let [name, category, tag] = [id, category, tag].map(str::to_owned);
            let data = ProductData { name, categories: vec![category], tags: vec![tag], ..ProductData::default() };
            catalog.create(id.to_owned(), data, WriteOptions::default()).await.unwrap();
        }
        let glob = |text| Invalidation::Pattern(Glob::parse(text).unwrap());
        let cases: [(Invalidation, &[&str]); 7] = [
            (Invalidation::Key("a".to_owned()), &["product:a"]),
            (Invalidation::Key("product:b".to_owned()), &["product:b"]),
            (Invalidation::Term(Term::Tag("summer".to_owned())), &["product:a"]),
            (Invalidation::Term(Term::Category("summer".to_owned())), &["product:b"]),
            (glob("product:[b-z]"), &["product:b"]),
            (glob("list:*"), &[]),
            (Invalidation::All, &["product:a", "product:b"]),
        ];
        for (invalidation, dropped) in cases {
            // The follower applies this replica's own writes again from the log of SQLite.
            cache.reach(Freshness::FullyConsistent).await.unwrap();
            for id in ["a", "b"] {
                catalog.product(parse_id("id", id.to_owned()).unwrap(), Read::default()).await.unwrap();
            }
            let matching = catalog.would_invalidate(invalidation.clone(), 10).await;
            assert_eq!(matching.count, dropped.len() as u64, "{invalidation:?}");
            let done = catalog.invalidate(vec![invalidation.clone()]).await.unwrap();
            let names = ["product:a", "product:b"];
            let gone: Vec<_> = names.into_iter().filter(|name| cache.get(name).is_none()).collect();
            assert_eq!(gone, dropped, "{invalidation:?}");
            assert!(done.horizon > done.token.id && done.stamp().token == done.token);
        }
        catalog.product(parse_id("id", "a".to_owned()).unwrap(), Read::default()).await.unwrap();
        for (signed, told) in [(7, Invalidating::Done), (8, Invalidating::Repeated), (8, Invalidating::Replayed)] {
            let asked = vec![Invalidation::Key("a".to_owned())];
            assert_eq!(catalog.invalidate_once("r".to_owned(), signed, asked).await.unwrap(), told);
            assert!(cache.get("product:a").is_none());
        }
        assert!(
            catalog
                .confirmed(catalog.invalidate(Vec::new()).await.unwrap().token, Duration::ZERO)
                .await
                .silent
                .is_empty()
        );
        follower.abort();
    }
}
