//! Replies whose parts all come from one snapshot of the database.
//!
//! Copies are collected as for any read. Then the follower makes one pass over the change log. All copies that are still valid
//! after it belong to the snapshot of that pass. If a copy is invalid, another round loads it again; if writers are faster than
//! that, one statement reads everything.

use std::sync::Arc;

use larder_cache::{Found, Freshness, LoadError, Loaded, Policy, ReadError};
use larder_storage::{ProductRepository as _, Products, ReadPoint};

use super::{
    Catalog, Copy, Page, SELECT, copies, list_copy, load_error, load_products, read_at, search_copy, spans::statement,
};
use crate::contract::{ListRequest, Read, SearchRequest};

/// Rounds before one statement reads everything.
const ROUNDS: usize = 3;

impl Catalog {
    /// Products of one snapshot. When the request accepts copies alone, an invalid copy counts as a missing one.
    pub(super) async fn products_together(
        &self,
        ids: Vec<String>,
        read: Read,
    ) -> Result<Vec<Option<Found<Copy>>>, ReadError> {
        for _ in 0..ROUNDS {
            let mut found = self.items(ids.clone(), read).await?;
            self.look().await?;
            if read.options.cache_only {
                for found in &mut found {
                    *found = found.take().filter(|found| self.stands(found));
                }
                return Ok(found);
            }
            if found.iter().flatten().all(|found| self.stands(found)) {
                return Ok(found);
            }
        }
        let repository = Arc::clone(&self.repository);
        let load = move || {
            let (repository, ids) = (Arc::clone(&repository), ids.clone());
            async move { load_products(&repository, ids).await }
        };
        let found = self.cache.load_apart(Policy::Item, read.options, load).await?;
        self.confirm(read, &found).await?;
        Ok(found.into_iter().map(Some).collect())
    }

    /// A page of a list with its products, all of one snapshot.
    pub(super) async fn list_together(&self, request: Arc<ListRequest>) -> Result<Page, ReadError> {
        let read = request.read;
        for _ in 0..ROUNDS {
            let page = self.list_page(&request).await?;
            if let Some(page) = self.settled(page, read).await? {
                return Ok(page);
            }
        }
        let repository = Arc::clone(&self.repository);
        let load = move || {
            let (repository, request) = (Arc::clone(&repository), Arc::clone(&request));
            async move {
                let query = repository.list_whole(&request.query);
                let loaded = statement(&repository, SELECT, query).await.map_err(load_error)?;
                let (page, products) = loaded.value;
                Ok::<_, LoadError>(whole(list_copy(&request, page), products, &loaded.point))
            }
        };
        self.whole_page(self.cache.load_apart(Policy::List, read.options, load).await?, read).await
    }

    /// A page of a search with its products, all of one snapshot.
    pub(super) async fn search_together(&self, request: Arc<SearchRequest>) -> Result<Page, ReadError> {
        let read = request.read;
        for _ in 0..ROUNDS {
            let page = self.search_page(&request).await?;
            if let Some(page) = self.settled(page, read).await? {
                return Ok(page);
            }
        }
        let repository = Arc::clone(&self.repository);
        let load = move || {
            let (repository, request) = (Arc::clone(&repository), Arc::clone(&request));
            async move {
                let query = repository.search_whole(&request.query);
                let loaded = statement(&repository, SELECT, query).await.map_err(load_error)?;
                let (page, products) = loaded.value;
                Ok::<_, LoadError>(whole(search_copy(&request, page), products, &loaded.point))
            }
        };
        self.whole_page(self.cache.load_apart(Policy::Search, read.options, load).await?, read).await
    }

    /// The page, if it and its products are of one snapshot. When the request accepts copies alone there is no other round.
    async fn settled(&self, page: Page, read: Read) -> Result<Option<Page>, ReadError> {
        self.look().await?;
        // An absent product on the page is of another snapshot than the page.
        let complete =
            matches!(&page.page.entry.value, Some(Copy::Page(copy)) if copy.ids.len() == page.products.len());
        if complete && self.stands(&page.page) && page.products.iter().all(|found| self.stands(found)) {
            return Ok(Some(page));
        }
        if read.options.cache_only { Err(ReadError::NotCached) } else { Ok(None) }
    }

    /// The result of one statement: the page first.
    async fn whole_page(&self, mut found: Vec<Found<Copy>>, read: Read) -> Result<Page, ReadError> {
        self.confirm(read, &found).await?;
        if found.is_empty() {
            return Err(LoadError::Lost.into());
        }
        let products = found.split_off(1);
        let page = found.remove(0);
        Ok(Page { page, products })
    }

    /// Makes a pass over the change log, one for all concurrent callers.
    async fn look(&self) -> Result<(), ReadError> {
        self.cache.reach(Freshness::FullyConsistent).await
    }

    fn stands(&self, found: &Found<Copy>) -> bool {
        self.cache.still_stands(&found.entry)
    }
}

fn whole(page: Copy, products: Products, point: &ReadPoint) -> Loaded<Copy> {
    let products = copies(products).map(|(_, copy)| copy);
    read_at(std::iter::once(page).chain(products).map(Some).collect(), point)
}
