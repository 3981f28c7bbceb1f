//! Writes: the database decides, the cache learns, then the writer is told.
//!
//! A write runs on the runtime of the database, so that a caller who goes away neither stops it half-way nor keeps the
//! cache from learning of it.

use std::{future::Future, sync::Arc};

use larder_cache::{Incarnation, Token};
use larder_storage::{
    Commit, Committed, Creation, Deletion, Imported, ProductData, ProductRepository as _, Repository, StorageError,
    Update, Updating, WriteOptions,
};

use super::{Catalog, follow::change};

/// What a write made, and the token of its commit.
#[derive(Debug)]
pub struct Written<T> {
    /// What it made.
    pub value: T,
    /// Names the commit; `None` when nothing was to be written.
    pub token: Option<Token>,
}

impl Catalog {
    /// Creates a product.
    pub async fn create(
        &self,
        id: String,
        data: ProductData,
        options: WriteOptions,
    ) -> Result<Written<Creation>, StorageError> {
        self.write(|repository| async move { repository.create(&id, &data, &options).await }).await
    }

    /// Changes a product.
    pub async fn update(&self, update: Update, options: WriteOptions) -> Result<Written<Updating>, StorageError> {
        self.write(|repository| async move { repository.update(&update, &options).await }).await
    }

    /// Deletes a product.
    pub async fn delete(&self, id: String, version: Option<i64>) -> Result<Written<Deletion>, StorageError> {
        self.write(|repository| async move { repository.delete(&id, version).await }).await
    }

    /// Creates or replaces products, at most 1,000, no id twice.
    pub async fn import(&self, products: Vec<(String, ProductData)>) -> Result<Written<Vec<Imported>>, StorageError> {
        self.write(|repository| async move { repository.import(&products).await }).await
    }

    async fn write<T, F>(&self, write: impl FnOnce(Arc<Repository>) -> F) -> Result<Written<T>, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Committed<T>, StorageError>> + Send + 'static,
    {
        let write = write(Arc::clone(&self.repository));
        let catalog = self.clone();
        let done = self.runtime.spawn(async move { Ok(catalog.wrote(write.await?)) });
        done.await.unwrap_or_else(|error| Err(StorageError::UnknownOutcome(error.into())))
    }

    /// Learns a commit before anybody is told of it. Own writes only remove copies: a newer one may be there already.
    fn wrote<T>(&self, committed: Committed<T>) -> Written<T> {
        let Committed { value, changes, commit, .. } = committed;
        for learned in changes.into_iter().map(change) {
            self.cache.learn(&learned);
        }
        Written { value, token: commit.map(token) }
    }
}

fn token(commit: Commit) -> Token {
    Token { incarnation: Incarnation(commit.incarnation.0), id: commit.id }
}
