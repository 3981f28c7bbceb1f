//! The catalogue: the one place where the cache meets the database.

mod copy;
mod follow;
mod invalidate;
mod prefetch;
mod probe;
mod spans;
mod subject;
mod together;
mod turns;
mod warm;
mod watch;
mod write;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use larder_cache::{
    Cache, Entry, Found, Freshness, Key, LoadError, Loaded, Moment, Policy, ReadError, Reader, Tier, Token,
};
use larder_storage::{ListPage, ProductRepository as _, Products, ReadPoint, Repository, SearchPage, StorageError};
use tokio::runtime::Handle;

pub use copy::{Copy, PageCopy};
pub use follow::Log;
pub use invalidate::{Invalidated, Invalidation};
use spans::statement;
use turns::WriteTurns;
pub use warm::{Warmed, Warmth};
use watch::Hub;
pub use watch::{Event, EventKind, Start, WatchError, Watcher};
pub use write::Written;

use crate::{
    config::WatchConfig,
    contract::{ListRequest, PRODUCT_PREFIX, ProductId, Read, SearchRequest, encode, product_name},
};

/// Products, read through the cache and written to the database.
#[derive(Clone)]
pub struct Catalog {
    cache: Cache<Copy>,
    repository: Arc<Repository>,
    runtime: Handle,
    hub: Arc<Hub>,
    writes: Arc<WriteTurns>,
}

/// A page with its products.
pub struct Page {
    /// The page's own copy.
    pub page: Found<Copy>,
    /// The products of the page that still exist, in order.
    pub products: Vec<Found<Copy>>,
}

/// Reads products from L1: no wait, no lock, no network.
pub struct ProductReader<'a>(Reader<'a, Copy>);

impl ProductReader<'_> {
    /// The copy of a product, or of its absence, if L1 has one that may be served. Also `None` for a text that is no id.
    pub fn get(&mut self, id: &str) -> Option<Arc<Entry<Copy>>> {
        let mut key = [0; LONGEST_KEY];
        let end = PRODUCT_PREFIX.len() + id.len();
        key[..PRODUCT_PREFIX.len()].copy_from_slice(PRODUCT_PREFIX.as_bytes());
        key.get_mut(PRODUCT_PREFIX.len()..end)?.copy_from_slice(id.as_bytes());
        self.0.get(std::str::from_utf8(&key[..end]).ok()?)
    }

    /// The time by which copies are judged.
    pub fn now(&self) -> Moment {
        self.0.now()
    }
}

/// What every load does, for its span.
const SELECT: &str = "SELECT products";
/// An id has at most 64 characters.
const LONGEST_KEY: usize = PRODUCT_PREFIX.len() + 64;

impl Catalog {
    /// Joins a cache and a repository. Everything that touches the database runs on `runtime`.
    pub fn new(cache: Cache<Copy>, repository: Arc<Repository>, runtime: Handle) -> Self {
        let writes = Arc::new(WriteTurns::new(repository.write_connections()));
        Self { cache, repository, runtime, hub: Arc::new(Hub::new(WatchConfig::default())), writes }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache<Copy> {
        &self.cache
    }

    /// The repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// Reads products from L1 with one look at the clock.
    pub fn reader(&self) -> ProductReader<'_> {
        ProductReader(self.cache.reader())
    }

    /// Returns a product, or the fact that there is none.
    pub async fn product(&self, id: ProductId, read: Read) -> Result<Found<Copy>, ReadError> {
        self.cache.reach(read.freshness).await?;
        let key = product_key(id.as_str());
        let repository = Arc::clone(&self.repository);
        let load = move |_| {
            let (repository, ids) = (Arc::clone(&repository), vec![id.as_str().to_owned()]);
            async move { load_products(&repository, ids).await }
        };
        let found = self.cache.get_or_load(key, Policy::Item, read.options, load).await?;
        self.confirm(read, [&found]).await?;
        Ok(found)
    }

    /// Returns products, or their absence, in the order of `ids`, which must be distinct. An element is `None` only when the
    /// request accepts copies alone and there is no copy.
    pub async fn products(&self, ids: Vec<String>, read: Read) -> Result<Vec<Option<Found<Copy>>>, ReadError> {
        self.cache.reach(read.freshness).await?;
        if read.same_snapshot {
            return self.products_together(ids, read).await;
        }
        self.items(ids, read).await
    }

    /// Returns one page of a list.
    pub async fn list(&self, request: ListRequest) -> Result<Page, ReadError> {
        self.cache.reach(request.read.freshness).await?;
        let request = Arc::new(request);
        if request.read.same_snapshot {
            return self.list_together(request).await;
        }
        self.list_page(&request).await
    }

    /// Returns one page of a search.
    pub async fn search(&self, request: SearchRequest) -> Result<Page, ReadError> {
        self.cache.reach(request.read.freshness).await?;
        let request = Arc::new(request);
        if request.read.same_snapshot {
            return self.search_together(request).await;
        }
        self.search_page(&request).await
    }

    /// Makes a read that shows some commits besides what it demands itself. They are looked for again after it, because the
    /// database may have been restored or failed over meanwhile.
    pub async fn since<T>(
        &self,
        tokens: &[Token],
        read: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        self.reach(tokens).await?;
        let found = read.await?;
        self.reach(tokens).await?;
        Ok(found)
    }

    async fn reach(&self, tokens: &[Token]) -> Result<(), ReadError> {
        for &token in tokens {
            self.cache.reach(Freshness::AtLeast(token)).await?;
        }
        Ok(())
    }

    async fn list_page(&self, request: &Arc<ListRequest>) -> Result<Page, ReadError> {
        let read = request.read;
        let key = Key::list(request.key.as_str(), request.term.as_str());
        let (repository, request) = (Arc::clone(&self.repository), Arc::clone(request));
        let load = move |_| {
            let (repository, request) = (Arc::clone(&repository), Arc::clone(&request));
            async move {
                let query = repository.list(&request.query);
                let loaded = statement(&repository, SELECT, query).await.map_err(load_error)?;
                Ok(one(list_copy(&request, loaded.value), &loaded.point))
            }
        };
        let page = self.cache.get_or_load(key, Policy::List, read.options, load).await?;
        self.confirm(read, [&page]).await?;
        self.fill(page, read).await
    }

    async fn search_page(&self, request: &Arc<SearchRequest>) -> Result<Page, ReadError> {
        let read = request.read;
        let key = Key::list(request.key.as_str(), larder_change::ANY);
        let (repository, request) = (Arc::clone(&self.repository), Arc::clone(request));
        let load = move |_| {
            let (repository, request) = (Arc::clone(&repository), Arc::clone(&request));
            async move {
                let query = repository.search(&request.query);
                let loaded = statement(&repository, SELECT, query).await.map_err(load_error)?;
                Ok(one(search_copy(&request, loaded.value), &loaded.point))
            }
        };
        let page = self.cache.get_or_load(key, Policy::Search, read.options, load).await?;
        self.confirm(read, [&page]).await?;
        self.fill(page, read).await
    }

    /// Finds the products of a page. Products that were deleted meanwhile are left out. When the request accepts copies alone, a
    /// missing copy makes the whole page uncached.
    async fn fill(&self, page: Found<Copy>, read: Read) -> Result<Page, ReadError> {
        let ids = match &page.entry.value {
            Some(Copy::Page(page)) => page.ids.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let items: Option<Vec<_>> = self.items(ids, read).await?.into_iter().collect();
        let mut products = items.ok_or(ReadError::NotCached)?;
        products.retain(|found| found.entry.value.is_some());
        Ok(Page { page, products })
    }

    async fn items(&self, ids: Vec<String>, read: Read) -> Result<Vec<Option<Found<Copy>>>, ReadError> {
        let keys = ids.iter().map(|id| product_key(id)).collect();
        let items = self.cache.get_or_load_many(keys, Policy::Item, read.options, self.load_some_of(ids)).await?;
        self.confirm(read, items.iter().flatten()).await?;
        Ok(items)
    }

    /// Loads some of these products, given by their indices.
    fn load_some_of(&self, ids: Vec<String>) -> impl Fn(Vec<usize>) -> LoadingProducts + Send + Sync + 'static {
        let repository = Arc::clone(&self.repository);
        move |numbers| {
            let ids = numbers.into_iter().map(|number| ids[number].clone()).collect();
            let repository = Arc::clone(&repository);
            Box::pin(async move { load_products(&repository, ids).await })
        }
    }

    /// Checks that the reply comes from the database whose state the reader named. The database may have been restored or failed
    /// over since that state was reached, and the one that answered may not have it.
    async fn confirm(&self, read: Read, found: impl IntoIterator<Item = &Found<Copy>>) -> Result<(), ReadError> {
        if read.freshness == Freshness::MinimizeLatency {
            return Ok(());
        }
        if found.into_iter().any(|found| found.stale && found.tier == Tier::Database) {
            return Err(ReadError::NoPass);
        }
        match read.freshness {
            Freshness::AtLeast(_) => self.cache.reach(read.freshness).await,
            Freshness::MinimizeLatency | Freshness::FullyConsistent => Ok(()),
        }
    }
}

type LoadingProducts = BoxFuture<'static, Result<Loaded<Copy>, LoadError>>;

/// The key of a product.
fn product_key(id: &str) -> Key {
    Key::item(product_name(id))
}

async fn load_products(repository: &Repository, ids: Vec<String>) -> Result<Loaded<Copy>, LoadError> {
    let loaded = statement(repository, SELECT, repository.get(&ids)).await.map_err(load_error)?;
    let mut copies: std::collections::HashMap<String, Copy> = copies(loaded.value).collect();
    let values = ids.iter().map(|id| copies.remove(id)).collect();
    Ok(read_at(values, &loaded.point))
}

/// Copies by id: products, and the fact that a row cannot be read.
fn copies(products: Products) -> impl Iterator<Item = (String, Copy)> {
    let Products { found, unreadable } = products;
    let found = found.into_iter().map(|product| (product.id.clone(), Copy::Product(encode(product))));
    found.chain(unreadable.into_iter().map(|id| (id.clone(), Copy::Unreadable(id.into()))))
}

fn list_copy(request: &ListRequest, page: ListPage) -> Copy {
    let next = page.next.map(|position| request.tokens().list(&position));
    Copy::Page(PageCopy::new(page.ids, next, page.total))
}

fn search_copy(request: &SearchRequest, page: SearchPage) -> Copy {
    let next = page.next.map(|(rank, id)| request.tokens().search(rank, &id));
    Copy::Page(PageCopy::new(page.ids, next, None))
}

fn one(copy: Copy, point: &ReadPoint) -> Loaded<Copy> {
    read_at(vec![Some(copy)], point)
}

/// The result of a load, for the cache.
pub fn read_at<V>(values: Vec<Option<V>>, point: &ReadPoint) -> Loaded<V> {
    Loaded { values, incarnation: point.incarnation, horizon: point.snapshot.xmin, witness: point.snapshot.witness() }
}

fn load_error(error: StorageError) -> LoadError {
    match error {
        StorageError::Unavailable(error) | StorageError::Full(error) => {
            LoadError::Unavailable(error.to_string().into())
        }
        StorageError::Timeout(_) => LoadError::Timeout,
        error => LoadError::Failed(error.to_string().into()),
    }
}
