//! Writes: the database decides, the cache applies the change, then the writer gets its reply.
//!
//! The write of a caller who has gone, or whose deadline has passed, never begins. Once begun it goes on, so that a caller who goes
//! away neither stops the write half-way nor keeps the change from the cache. Waiting and writing run on the runtime of the database:
//! a turn must not wait until a thread that serves thousands of other calls comes round to its caller.

use std::{convert::Infallible, future::Future, sync::Arc};

use larder_cache::trace;
use larder_change::Token;
use larder_storage::{
    Committed, Creation, Deletion, Imported, Product, ProductData, ProductRepository as _, Repository, StorageError,
    Update, Updating, WriteOptions, with_trace,
};
use tokio::sync::oneshot;

use super::{Catalog, Copy, spans::statement, subject::of_copies, turns::Rank};
use crate::contract::{Stamp, encode, product_name};

/// The result of a write, and the token of its commit.
#[derive(Debug)]
pub struct Written<T> {
    /// The result.
    pub value: T,
    /// Names the commit; `None` when there was nothing to write.
    pub token: Option<Token>,
    /// Every change with a lower id was finished before the write.
    pub horizon: u64,
}

impl<T> Written<T> {
    /// The token of the commit for the writer; `None` when there was nothing to write.
    pub fn stamp(&self) -> Option<Stamp> {
        self.token.map(|token| Stamp { token, horizon: self.horizon })
    }
}

impl Catalog {
    /// Creates a product.
    pub async fn create(
        &self,
        id: String,
        data: ProductData,
        options: WriteOptions,
    ) -> Result<Written<Creation>, StorageError> {
        let items = |creation: &Creation| match creation {
            Creation::Created(product) => Some(product.clone()),
            Creation::Exists | Creation::RequestIdReused => None,
        };
        let create = |repository: Arc<Repository>| async move { repository.create(&id, &data, &options).await };
        self.write(Rank::Call, "INSERT products", create, items).await
    }

    /// Changes a product.
    pub async fn update(&self, update: Update, options: WriteOptions) -> Result<Written<Updating>, StorageError> {
        let items = |updating: &Updating| match updating {
            Updating::Updated(product) => Some(product.clone()),
            Updating::Missing | Updating::VersionDiffers | Updating::RequestIdReused => None,
        };
        let change = |repository: Arc<Repository>| async move { repository.update(&update, &options).await };
        self.write(Rank::Call, "UPDATE products", change, items).await
    }

    /// Deletes a product.
    pub async fn delete(&self, id: String, version: Option<i64>) -> Result<Written<Deletion>, StorageError> {
        let delete = move |repository: Arc<Repository>| async move { repository.delete(&id, version).await };
        self.write(Rank::Call, "DELETE products", delete, |_| None).await
    }

    /// Creates or replaces products: at most 1,000, with distinct ids.
    pub async fn import(&self, products: Vec<(String, ProductData)>) -> Result<Written<Vec<Imported>>, StorageError> {
        let import = |repository: Arc<Repository>| async move { repository.import(&products).await };
        self.write(Rank::Import, "INSERT products", import, |_| None).await
    }

    /// Writes, and gives the cache the new product, if `item` knows it. The summary names the statement in its span.
    pub(super) async fn write<T, F>(
        &self,
        rank: Rank,
        summary: &'static str,
        write: impl FnOnce(Arc<Repository>) -> F + Send + 'static,
        item: impl FnOnce(&T) -> Option<Product> + Send + 'static,
    ) -> Result<Written<T>, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Committed<T>, StorageError>> + Send + 'static,
    {
        if self.writes.are_too_many(rank) {
            return Err(StorageError::Overloaded);
        }
        let catalog = self.clone();
        let context = trace::current().context();
        let (_caller, left) = oneshot::channel::<Infallible>();
        let work = async move {
            let turn = tokio::select! {
                biased;
                _ = left => return Err(StorageError::Unavailable("the caller has left".into())),
                turn = catalog.writes.turn(rank) => turn?,
            };
            // The state of a write under way takes some 40 KB, which those that wait do not need.
            Box::pin(async move {
                let write = write(Arc::clone(&catalog.repository));
                let write = async {
                    match context {
                        Some(context) => with_trace(context, write).await,
                        None => write.await,
                    }
                };
                let committed = statement(&catalog.repository, summary, write).await;
                // Others need not wait until everybody knows of this write.
                drop(turn);
                let committed = committed?;
                let item = item(&committed.value);
                Ok(catalog.wrote(committed, item).await)
            })
            .await
        };
        let done = self.runtime.spawn(trace::current().carry(work));
        done.await.unwrap_or_else(|error| Err(StorageError::UnknownOutcome(error.into())))
    }

    /// Applies a commit before anybody is told of it. Own writes only remove copies of this replica, which may already have a
    /// newer one.
    async fn wrote<T>(&self, committed: Committed<T>, item: Option<Product>) -> Written<T> {
        let Committed { value, changes, commit, horizon } = committed;
        if let Some(token) = commit {
            let items = item.map(|product| {
                let name = product_name(&product.id).into_boxed_str();
                (name, Copy::Product(encode(product)))
            });
            let changes = changes.into_iter().map(|change| change.map(of_copies)).collect();
            // A horizon above the commit means a database with one writer, whose changes have one order.
            let witness = (horizon > token.id).then_some(token.witness());
            let items = items.into_iter().collect();
            let written = larder_cache::Commit { incarnation: token.incarnation, horizon, witness, changes, items };
            self.cache.wrote(written).await;
        }
        Written { value, token: commit, horizon }
    }
}
