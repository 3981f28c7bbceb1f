//! PostgreSQL, 15 and later.

mod alive;
mod connect;
mod import;
mod invalidate;
mod listen;
mod lives;
mod log;
mod point;
mod pool;
mod read;
mod row;
mod servers;
mod session;
mod settings;
mod transaction;
mod triggers;
mod trust;
mod url;
mod write;

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

pub(crate) use settings::is_unsuitable;

use crate::{
    Backend, Committed, Creation, Deletion, Filter, Imported, Incarnation, Invalidating, Invalidation, ListPage,
    ListQuery, Loaded, LogBatch, Pool, ProductData, ProductRepository, Products, Recall, Replay, SearchPage,
    SearchQuery, Snapshot, StorageConfig, StorageError, Update, Updating, Witness, WriteOptions, driver,
    horizon::Horizons, retry::Retry,
};

const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A repository over PostgreSQL.
#[derive(Debug)]
pub struct PostgresRepository {
    connections: Arc<pool::Connections>,
    listener: listen::Listener,
    horizons: Horizons,
    /// Held by whoever removes another server's change log.
    disowning: Arc<Mutex<()>>,
    backend: Backend,
}

impl PostgresRepository {
    /// Connects and brings the schema up to date.
    ///
    /// A standby, a server older than 15 and a database that is not in UTF-8 are errors.
    pub async fn connect(config: &StorageConfig) -> Result<Self, StorageError> {
        connect::connect(config).await
    }

    /// Tells whether a URL could be connected to, without trying.
    pub fn check_url(url: &str) -> Result<(), StorageError> {
        connect::parse(url).map(drop)
    }
}

impl PostgresRepository {
    async fn acquire(&self) -> Result<pool::Lease, sqlx::Error> {
        self.connections.for_load().await
    }
}

impl ProductRepository for PostgresRepository {
    async fn get(&self, ids: &[String]) -> Result<Loaded<Products>, StorageError> {
        self.get_products(ids).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Loaded<ListPage>, StorageError> {
        self.list_page(query).await
    }

    async fn list_whole(&self, query: &ListQuery) -> Result<Loaded<(ListPage, Products)>, StorageError> {
        self.whole_list(query).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<Loaded<SearchPage>, StorageError> {
        self.search_page(query).await
    }

    async fn search_whole(&self, query: &SearchQuery) -> Result<Loaded<(SearchPage, Products)>, StorageError> {
        self.whole_search(query).await
    }

    async fn scan(&self, filter: &Filter, after: Option<&str>, limit: u32) -> Result<Products, StorageError> {
        self.scan_products(filter, after, limit).await
    }

    async fn create(
        &self,
        id: &str,
        data: &ProductData,
        options: &WriteOptions,
    ) -> Result<Committed<Creation>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_create(id, data, options).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn update(&self, update: &Update, options: &WriteOptions) -> Result<Committed<Updating>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_update(update, options).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn delete(&self, id: &str, version: Option<i64>) -> Result<Committed<Deletion>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_delete(id, version).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn import(&self, products: &[(String, ProductData)]) -> Result<Committed<Vec<Imported>>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_import(products).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_invalidate(invalidations).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn invalidate_once(
        &self,
        request_id: &str,
        signed: u64,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        let mut retry = Retry::default();
        loop {
            match self.try_invalidate_once(request_id, signed, invalidations).await {
                Err(error) => retry.after(error).await?,
                done => return done,
            }
        }
    }

    async fn is_empty(&self) -> Result<bool, StorageError> {
        let mut connection = self.acquire().await.map_err(driver::sort)?;
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM public.products)")
            .fetch_one(&mut *connection)
            .await
            .map_err(driver::sort)
    }

    async fn pass(&self, since: Option<(&Snapshot, Incarnation)>, limit: u32) -> Result<LogBatch, StorageError> {
        self.look(since, limit).await
    }

    async fn replay(&self, since: &Snapshot, of: Incarnation, limit: u32) -> Result<Replay, StorageError> {
        self.look_back(since, of, limit).await
    }

    async fn recall(&self, changes: &[Witness]) -> Result<Recall, StorageError> {
        self.recall_changes(changes).await
    }

    async fn begin_life(&self) -> Result<(), StorageError> {
        self.name_another_life().await
    }

    async fn changed(&self, at_most: Duration) {
        self.listener.notified(at_most).await;
    }

    async fn prune(&self, retention: Duration) -> Result<u64, StorageError> {
        self.prune_log(retention).await
    }

    async fn log_rows(&self) -> Result<u64, StorageError> {
        let mut connection = self.acquire().await.map_err(driver::sort)?;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM public.changes")
            .fetch_one(&mut *connection)
            .await
            .map_err(driver::sort)?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    async fn repair(&self) -> Result<Vec<String>, StorageError> {
        self.repair_log().await
    }

    fn write_connections(&self) -> usize {
        self.connections.for_writes()
    }

    fn pools(&self) -> Vec<Pool> {
        vec![self.connections.usage()]
    }

    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn close(&self) {
        self.listener.stop();
        self.connections.close(CLOSE_LIMIT).await;
    }
}
