//! The database that a URL names.

use std::time::Duration;

use crate::{
    Backend, Committed, Creation, Deletion, Filter, Imported, Incarnation, Invalidating, Invalidation, ListPage,
    ListQuery, Loaded, LogBatch, Pool, PostgresRepository, ProductData, ProductRepository, Products, Recall, Replay,
    SearchPage, SearchQuery, Snapshot, SqliteRepository, StorageConfig, StorageError, Update, Updating, Witness,
    WriteOptions,
};

/// A repository over the database that its URL names.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Repository {
    /// PostgreSQL.
    Postgres(PostgresRepository),
    /// SQLite.
    Sqlite(SqliteRepository),
}

enum Scheme {
    Postgres,
    Sqlite,
}

impl Repository {
    /// Connects to the database and brings its schema up to date.
    pub async fn connect(config: &StorageConfig) -> Result<Self, StorageError> {
        Ok(match scheme(&config.url)? {
            Scheme::Postgres => Self::Postgres(PostgresRepository::connect(config).await?),
            Scheme::Sqlite => Self::Sqlite(SqliteRepository::connect(config).await?),
        })
    }

    /// Tells whether a URL could be connected to, without trying.
    pub fn check_url(url: &str) -> Result<(), StorageError> {
        match scheme(url)? {
            Scheme::Postgres => PostgresRepository::check_url(url),
            Scheme::Sqlite => SqliteRepository::check_url(url),
        }
    }
}

fn scheme(url: &str) -> Result<Scheme, StorageError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Scheme::Postgres)
    } else if url.starts_with("sqlite:") {
        Ok(Scheme::Sqlite)
    } else {
        // The URL itself may hold a password.
        Err(StorageError::Url("it begins with none of postgres://, postgresql:// and sqlite:".to_owned()))
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self {
            Repository::Postgres($inner) => $call,
            Repository::Sqlite($inner) => $call,
        }
    };
}

impl ProductRepository for Repository {
    async fn get(&self, ids: &[String]) -> Result<Loaded<Products>, StorageError> {
        each!(self, inner => inner.get(ids).await)
    }

    async fn list(&self, query: &ListQuery) -> Result<Loaded<ListPage>, StorageError> {
        each!(self, inner => inner.list(query).await)
    }

    async fn list_whole(&self, query: &ListQuery) -> Result<Loaded<(ListPage, Products)>, StorageError> {
        each!(self, inner => inner.list_whole(query).await)
    }

    async fn search(&self, query: &SearchQuery) -> Result<Loaded<SearchPage>, StorageError> {
        each!(self, inner => inner.search(query).await)
    }

    async fn search_whole(&self, query: &SearchQuery) -> Result<Loaded<(SearchPage, Products)>, StorageError> {
        each!(self, inner => inner.search_whole(query).await)
    }

    async fn scan(&self, filter: &Filter, after: Option<&str>, limit: u32) -> Result<Products, StorageError> {
        each!(self, inner => inner.scan(filter, after, limit).await)
    }

    async fn create(
        &self,
        id: &str,
        data: &ProductData,
        options: &WriteOptions,
    ) -> Result<Committed<Creation>, StorageError> {
        each!(self, inner => inner.create(id, data, options).await)
    }

    async fn update(&self, update: &Update, options: &WriteOptions) -> Result<Committed<Updating>, StorageError> {
        each!(self, inner => inner.update(update, options).await)
    }

    async fn delete(&self, id: &str, version: Option<i64>) -> Result<Committed<Deletion>, StorageError> {
        each!(self, inner => inner.delete(id, version).await)
    }

    async fn import(&self, products: &[(String, ProductData)]) -> Result<Committed<Vec<Imported>>, StorageError> {
        each!(self, inner => inner.import(products).await)
    }

    async fn invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        each!(self, inner => inner.invalidate(invalidations).await)
    }

    async fn invalidate_once(
        &self,
        request_id: &str,
        signed: u64,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        each!(self, inner => inner.invalidate_once(request_id, signed, invalidations).await)
    }

    async fn is_empty(&self) -> Result<bool, StorageError> {
        each!(self, inner => inner.is_empty().await)
    }

    async fn pass(&self, since: Option<(&Snapshot, Incarnation)>, limit: u32) -> Result<LogBatch, StorageError> {
        each!(self, inner => inner.pass(since, limit).await)
    }

    async fn replay(&self, since: &Snapshot, of: Incarnation, limit: u32) -> Result<Replay, StorageError> {
        each!(self, inner => inner.replay(since, of, limit).await)
    }

    async fn recall(&self, changes: &[Witness]) -> Result<Recall, StorageError> {
        each!(self, inner => inner.recall(changes).await)
    }

    async fn begin_life(&self) -> Result<(), StorageError> {
        each!(self, inner => inner.begin_life().await)
    }

    async fn changed(&self, at_most: Duration) {
        each!(self, inner => inner.changed(at_most).await);
    }

    async fn prune(&self, retention: Duration) -> Result<u64, StorageError> {
        each!(self, inner => inner.prune(retention).await)
    }

    async fn log_rows(&self) -> Result<u64, StorageError> {
        each!(self, inner => inner.log_rows().await)
    }

    async fn repair(&self) -> Result<Vec<String>, StorageError> {
        each!(self, inner => inner.repair().await)
    }

    fn write_connections(&self) -> usize {
        each!(self, inner => inner.write_connections())
    }

    fn pools(&self) -> Vec<Pool> {
        each!(self, inner => inner.pools())
    }

    fn backend(&self) -> &Backend {
        each!(self, inner => inner.backend())
    }

    async fn close(&self) {
        each!(self, inner => inner.close().await);
    }
}
