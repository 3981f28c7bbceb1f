//! The connections to one file: one writer, some readers, and the follower's own.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use larder_back_off::BackOff;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    file::{FileId, beside, create_private, warn_of_others},
    log::Follower,
    triggers,
};
use crate::{Incarnation, StorageConfig, StorageError, driver, hash::fnv64, migrations};

/// More readers than this only wait for each other.
const MOST_READERS: u32 = 8;
/// Another process may be creating or migrating the same file.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Where the file is and how to open it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) statement_timeout: Duration,
    options: SqliteConnectOptions,
    acquire_timeout: Duration,
    readers: u32,
}

impl Place {
    pub(super) fn new(config: &StorageConfig) -> Result<Self, StorageError> {
        let options = parse(&config.url)?
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit is synced: in WAL mode that is one more than the default, which could lose the last commits
            // when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(config.statement_timeout)
            .foreign_keys(false)
            .pragma("cache_size", "-16384")
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        Ok(Self {
            path: options.get_filename().to_owned(),
            options,
            statement_timeout: config.statement_timeout,
            acquire_timeout: config.acquire_timeout,
            readers: config.max_connections.clamp(1, MOST_READERS),
        })
    }
}

/// Parses a URL into what the driver needs.
pub(super) fn parse(url: &str) -> Result<SqliteConnectOptions, StorageError> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path.is_empty() {
        return Err(StorageError::Url("it names no file".to_owned()));
    }
    if path.starts_with(":memory:") || path.contains('?') {
        return Err(StorageError::Url("a SQLite database must be a file, and its URL has no parameters".to_owned()));
    }
    SqliteConnectOptions::from_str(url).map_err(driver::sort)
}

/// How to open a file again, as long as the same file is under its path.
#[derive(Debug, Clone)]
pub(super) struct Reopen {
    path: PathBuf,
    file: FileId,
    options: SqliteConnectOptions,
}

impl Reopen {
    fn is_in_place(&self) -> bool {
        FileId::of(&self.path).is_ok_and(|id| id == self.file)
    }

    pub(super) async fn connect(&self) -> Result<SqliteConnection, StorageError> {
        let connection = self.options.connect().await.map_err(driver::sort)?;
        if self.is_in_place() {
            return Ok(connection);
        }
        let _ = connection.close().await;
        Err(StorageError::Unavailable("the file was replaced while it was opened".into()))
    }
}

/// The connections to one file.
#[derive(Debug)]
pub(super) struct Database {
    /// The file that was opened, which is not the one under the path any more once that has been replaced.
    pub(super) file: FileId,
    /// One connection: SQLite has one writer at a time, and here they wait in the order of their coming.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) follower: Mutex<Follower>,
    /// The files that SQLite keeps beside the database.
    companions: Vec<(PathBuf, FileId)>,
}

impl Database {
    /// Opens the file under the path and brings its schema up to date.
    #[expect(clippy::disallowed_methods, reason = "the length of a pause decides nothing")]
    pub(super) async fn open(place: &Place, create: bool) -> Result<Self, StorageError> {
        if create {
            create_private(&place.path).map_err(|error| StorageError::Unavailable(error.into()))?;
            warn_of_others(&place.path);
        }
        let deadline = Instant::now() + OPEN_LIMIT;
        let mut back_off = BackOff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let before = FileId::of(&place.path).ok();
            let result = Self::open_once(place, create).await;
            match result {
                // Replaced while it was being opened: nobody knows which one that was.
                Ok(database) if before.is_some_and(|before| before != database.file) => database.close().await,
                // Two processes that both create the file, or turn it to WAL mode, meet without the busy timeout.
                Err(StorageError::Timeout(error)) if Instant::now() < deadline => {
                    tracing::debug!(error = %error, "database file busy while it was opened");
                    tokio::time::sleep(back_off.next(rand::random())).await;
                }
                result => return result,
            }
        }
    }

    async fn open_once(place: &Place, create: bool) -> Result<Self, StorageError> {
        let options = place.options.clone().create_if_missing(create);
        let mut follower = options.connect().await.map_err(driver::sort)?;
        migrate(&mut follower).await?;
        let id = |path: &Path| FileId::of(path).map_err(|error| StorageError::Unavailable(error.into()));
        let file = id(&place.path)?;
        let options = options.create_if_missing(false);
        let reopen = Reopen { path: place.path.clone(), file, options: options.clone() };
        let pool = |connections: u32, options: SqliteConnectOptions| {
            let reopen = reopen.clone();
            SqlitePoolOptions::new()
                // All of them now, before the path is looked at again: a connection opened later might lead to another file, and
                // stay when the path leads to this one again.
                .min_connections(connections)
                .max_connections(connections)
                // One that takes the place of a broken one.
                .after_connect(move |_, _| {
                    let same = reopen.is_in_place();
                    Box::pin(async move { if same { Ok(()) } else { Err(sqlx::Error::WorkerCrashed) } })
                })
                .acquire_timeout(place.acquire_timeout)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .connect_with(options)
        };
        let writer = pool(1, options.clone()).await.map_err(driver::sort)?;
        let readers = pool(place.readers, options.pragma("query_only", "on")).await.map_err(driver::sort)?;
        if id(&place.path)? != file {
            return Err(StorageError::Timeout("the file was replaced while it was opened".into()));
        }
        let companions = ["-wal", "-shm"]
            .into_iter()
            .filter_map(|suffix| {
                let path = beside(&place.path, suffix);
                FileId::of(&path).ok().map(|id| (path, id))
            })
            .collect();
        Ok(Self { file, writer, readers, follower: Mutex::new(Follower::new(follower, reopen)), companions })
    }

    /// Removes the log of this database from beside a file that has taken its place: SQLite would apply it to that one.
    pub(super) fn remove_leftovers(&self, place: &Place) {
        for (path, id) in &self.companions {
            if FileId::of(path).is_ok_and(|found| found == *id) {
                tracing::warn!(path = %path.display(), file = %place.path.display(), "removing the log of the replaced file");
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Which life of which file, from the id stored in it.
    pub(super) fn incarnation(&self, life: &str) -> Incarnation {
        let mut bytes = self.file.bytes().to_vec();
        bytes.extend(life.as_bytes());
        Incarnation(fnv64(&bytes))
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.follower.lock().await.close().await;
    }
}

/// The newest migration of this release.
pub(super) fn newest_migration() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Migrates under the write lock: of several processes one does it, the others find it done.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StorageError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(driver::sort)?;
    migrator().run_direct(None, &mut *tx, false).await.map_err(|error| driver::sort(error.into()))?;
    triggers::settle(&mut tx).await?;
    tx.commit().await.map_err(driver::sort)
}

/// The migrations, in order.
fn migrator() -> Migrator {
    let files = [
        (1, "catalogue", include_str!("../../migrations/sqlite/0001_catalogue.sql")),
        (2, "search", include_str!("../../migrations/sqlite/0002_search.sql")),
        (3, "lives", include_str!("../../migrations/sqlite/0003_lives.sql")),
        (4, "whole log", include_str!("../../migrations/sqlite/0004_whole_log.sql")),
        (5, "traces", include_str!("../../migrations/sqlite/0005_traces.sql")),
    ];
    migrations::migrator(&files, "larder_migrations")
}
