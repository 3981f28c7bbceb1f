//! Warming: products are loaded into the cache before they are read.

use std::{collections::HashSet, sync::Arc};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use larder_cache::{Found, ReadError, Tier};
use larder_storage::{Filter, ListQuery, Order, ProductRepository as _, StorageError};

use super::{Catalog, Copy};
use crate::contract::PRODUCT_PREFIX;
use crate::contract::Read;

/// The products to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warmth {
    /// The products with these ids.
    Ids(Vec<String>),
    /// The products in these categories.
    Categories(Vec<String>),
    /// So many of the hottest products.
    Hottest(usize),
}

/// The progress of warming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warmed {
    /// How many products there are; 0 while that is unknown.
    pub total: u64,
    /// How many products are done.
    pub done: u64,
    /// How many of them were in L1 already.
    pub from_l1: u64,
    /// How many came from Redis.
    pub from_l2: u64,
    /// How many came from the database.
    pub from_database: u64,
    /// How many do not exist.
    pub not_found: u64,
    /// How many could not be read.
    pub failed: u64,
}

/// Products read together.
const BATCH: usize = 100;
/// Ids of a category that are looked up together.
const PAGE: u32 = 1_000;

/// Ids to read together, or how many could not even be found.
type Batch = Result<Vec<String>, StorageError>;

impl Catalog {
    /// Loads products, so many batches of 100 at once, and yields the progress after each. Dropping the stream ends the loading.
    pub async fn warm(&self, warmth: Warmth, at_once: usize) -> BoxStream<'static, Warmed> {
        let (batches, total) = self.batches(warmth).await;
        let catalog = self.clone();
        let read = batches.map(move |batch| {
            let catalog = catalog.clone();
            async move { catalog.warm_batch(batch).await }
        });
        let begun = Warmed { total, ..Warmed::default() };
        let progress = read.buffer_unordered(at_once.max(1)).scan(begun, |warmed, batch| {
            warmed.add(batch);
            std::future::ready(Some(*warmed))
        });
        // The first progress, or the only one when there is nothing to do.
        stream::once(std::future::ready(begun)).chain(progress).boxed()
    }

    async fn batches(&self, warmth: Warmth) -> (BoxStream<'static, Batch>, u64) {
        let ids = match warmth {
            Warmth::Ids(ids) => ids,
            Warmth::Categories(categories) => return (self.of_categories(categories), 0),
            Warmth::Hottest(most) => self.hottest(most).await,
        };
        let mut seen = HashSet::new();
        let ids: Vec<String> = ids.into_iter().filter(|id| seen.insert(id.clone())).collect();
        let batches: Vec<Batch> = ids.chunks(BATCH).map(|batch| Ok(batch.to_vec())).collect();
        (stream::iter(batches).boxed(), ids.len() as u64)
    }

    /// The hottest products: of all replicas, or else of this one.
    async fn hottest(&self, most: usize) -> Vec<String> {
        let mut names = self.cache.remembered_hot_keys(most).await;
        if names.is_empty() {
            names = self.cache.hot_keys(most).into_iter().map(|key| key.name).collect();
        }
        names.iter().filter_map(|name| name.strip_prefix(PRODUCT_PREFIX).map(str::to_owned)).collect()
    }

    /// The ids of the products of categories, page by page.
    fn of_categories(&self, categories: Vec<String>) -> BoxStream<'static, Batch> {
        let (repository, runtime) = (Arc::clone(&self.repository), self.runtime.clone());
        let of_one = move |category: String| {
            let filter = Filter { category: Some(category), ..Filter::default() };
            let first = ListQuery { filter, order: Order::default(), after: None, limit: PAGE, count: false };
            let (repository, runtime) = (Arc::clone(&repository), runtime.clone());
            let pages = stream::unfold(Some(first), move |query| {
                let (repository, runtime) = (Arc::clone(&repository), runtime.clone());
                async move {
                    let query = query?;
                    let asked = query.clone();
                    let page = runtime.spawn(async move { repository.list(&asked).await }).await;
                    match page.unwrap_or_else(|error| Err(StorageError::Unavailable(error.into()))) {
                        Ok(page) => {
                            let next = page.value.next.map(|after| ListQuery { after: Some(after), ..query });
                            Some((Ok(page.value.ids), next))
                        }
                        Err(error) => Some((Err(error), None)),
                    }
                }
            });
            pages.flat_map(|page| {
                stream::iter(match page {
                    Ok(ids) => ids.chunks(BATCH).map(|ids| Ok(ids.to_vec())).collect(),
                    Err(error) => vec![Err(error)],
                })
            })
        };
        stream::iter(categories).flat_map(of_one).boxed()
    }

    async fn warm_batch(&self, batch: Batch) -> Warmed {
        let ids = match batch {
            Ok(ids) => ids,
            Err(error) => {
                tracing::warn!(%error, "products to warm cannot be found");
                return Warmed { failed: 1, ..Warmed::default() };
            }
        };
        let done = ids.len() as u64;
        match self.items(ids, Read::default()).await {
            Ok(found) => found.iter().flatten().fold(Warmed { done, ..Warmed::default() }, Warmed::with),
            Err(error) => {
                log(&error);
                Warmed { done, failed: done, ..Warmed::default() }
            }
        }
    }
}

fn log(error: &ReadError) {
    tracing::warn!(%error, "products to warm cannot be read");
}

impl Warmed {
    fn with(mut self, found: &Found<Copy>) -> Self {
        let count = match found.tier {
            _ if found.entry.value.is_none() => &mut self.not_found,
            _ if matches!(found.entry.value, Some(Copy::Unreadable(_))) => &mut self.failed,
            Tier::L1 => &mut self.from_l1,
            Tier::L2 => &mut self.from_l2,
            Tier::Database => &mut self.from_database,
        };
        *count += 1;
        self
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.from_l1 += other.from_l1;
        self.from_l2 += other.from_l2;
        self.from_database += other.from_database;
        self.not_found += other.not_found;
        self.failed += other.failed;
    }
}
