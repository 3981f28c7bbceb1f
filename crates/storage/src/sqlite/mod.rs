//! SQLite: one file, in WAL mode, with one writer.

mod database;
mod file;
mod import;
mod invalidate;
mod lives;
mod log;
mod read;
mod reader;
mod row;
mod seen;
mod transaction;
mod triggers;
mod write;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::SqlitePool;

use crate::{
    Backend, Committed, Creation, Deletion, Filter, Imported, Incarnation, Invalidating, Invalidation, ListPage,
    ListQuery, Loaded, LogBatch, Pool, ProductData, ProductRepository, Products, Recall, Replay, SearchPage,
    SearchQuery, Snapshot, StorageConfig, StorageError, Update, Updating, Witness, WriteOptions, driver,
    horizon::Horizons, retry::Retry,
};

use self::{
    database::{Database, Place},
    file::FileId,
    seen::SeenChanges,
};

const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A repository over a SQLite file.
///
/// A file that is put in the place of the opened one is opened instead, at the next look or write. Put it there by renaming it,
/// as copying over an open file damages it.
#[derive(Debug)]
pub struct SqliteRepository {
    place: Place,
    current: RwLock<Arc<Database>>,
    reopening: tokio::sync::Mutex<()>,
    horizons: Horizons,
    /// What loads and looks saw of the change log, of whichever file was opened.
    seen: SeenChanges,
    backend: Backend,
}

impl SqliteRepository {
    /// Opens the file, creating it and the directories above it when missing, and brings the schema up to date.
    pub async fn connect(config: &StorageConfig) -> Result<Self, StorageError> {
        let place = Place::new(config)?;
        let database = Database::open(&place, true).await?;
        let version =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&database.readers).await.map_err(driver::sort)?;
        Ok(Self {
            place,
            current: RwLock::new(Arc::new(database)),
            reopening: tokio::sync::Mutex::default(),
            horizons: Horizons::default(),
            seen: SeenChanges::default(),
            backend: Backend { name: "SQLite", version },
        })
    }

    /// Tells whether a URL could be connected to, without trying.
    pub fn check_url(url: &str) -> Result<(), StorageError> {
        database::parse(url).map(drop)
    }

    fn opened(&self) -> Arc<Database> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The database that is under the path now; another one than before is opened first.
    async fn current(&self) -> Result<Arc<Database>, StorageError> {
        let opened = self.opened();
        if self.is_in_place(&opened)? {
            return Ok(opened);
        }
        let _one = self.reopening.lock().await;
        let opened = self.opened();
        if self.is_in_place(&opened)? {
            return Ok(opened);
        }
        tracing::warn!(path = %self.place.path.display(), "another database file is in place, opening it");
        opened.remove_leftovers(&self.place);
        let database = Arc::new(Database::open(&self.place, false).await?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&database);
        tokio::spawn(async move { opened.close().await });
        Ok(database)
    }

    fn is_in_place(&self, opened: &Database) -> Result<bool, StorageError> {
        match FileId::of(&self.place.path) {
            Ok(id) => Ok(id == opened.file),
            Err(error) => Err(StorageError::Unavailable(error.into())),
        }
    }
}

impl ProductRepository for SqliteRepository {
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
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM products)")
            .fetch_one(&self.opened().readers)
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
        self.wait_for_change(at_most).await;
    }

    async fn prune(&self, retention: Duration) -> Result<u64, StorageError> {
        self.prune_log(retention).await
    }

    async fn log_rows(&self) -> Result<u64, StorageError> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM changes")
            .fetch_one(&self.opened().readers)
            .await
            .map_err(driver::sort)?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    async fn repair(&self) -> Result<Vec<String>, StorageError> {
        self.repair_log().await
    }

    fn write_connections(&self) -> usize {
        1
    }

    fn pools(&self) -> Vec<Pool> {
        let database = self.opened();
        [("writer", &database.writer), ("readers", &database.readers)].map(|(name, pool)| usage(name, pool)).to_vec()
    }

    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn close(&self) {
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.opened().close()).await;
    }
}

/// How a pool is used.
fn usage(name: &'static str, pool: &SqlitePool) -> Pool {
    let (size, idle) = (u64::from(pool.size()), pool.num_idle() as u64);
    Pool { name, idle, used: size.saturating_sub(idle), most: u64::from(pool.options().get_max_connections()) }
}
