//! The change log: looking at it, waiting for it and pruning it.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokio::time::Instant;

use super::{
    SqliteRepository,
    database::{Database, Reopen},
    lives::{self, Found},
    row::{self, CHANGE_COLUMNS, number, signed},
    seen::SeenChanges,
    transaction::Transaction,
    triggers,
};
use crate::{Change, Changes, Incarnation, LogBatch, Replay, Snapshot, StorageError, Witness, change, driver};

/// How many rows one transaction of the pruner removes.
const BATCH: i64 = 10_000;
/// How often the file is looked at while it changes now and then, and when it has not for `QUIET`.
const POLL: Duration = Duration::from_millis(10);
const QUIET_POLL: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_secs(2);

/// The connection that never writes, so that `PRAGMA data_version` tells it of every commit of another one.
#[derive(Debug)]
pub(super) struct Follower {
    connection: Option<SqliteConnection>,
    /// How to open another connection to the same file.
    reopen: Reopen,
    last: Option<LastPass>,
    last_change: Instant,
}

/// What the last pass saw. `changed` compares with this and not with what it saw itself, so that no change is lost between
/// the two.
#[derive(Debug)]
struct LastPass {
    data_version: i64,
    snapshot: Snapshot,
    incarnation: Incarnation,
    schema_version: i64,
    /// Why the log did not tell of every change.
    problem: Option<String>,
}

impl LastPass {
    /// The same again, when nothing was committed since.
    fn again(&self) -> LogBatch {
        let changes = match &self.problem {
            Some(problem) => Changes::Incomplete(problem.clone().into()),
            None => Changes::Complete(Vec::new()),
        };
        LogBatch { snapshot: self.snapshot.clone(), incarnation: self.incarnation, lineage: None, changes }
    }
}

/// What a look found instead of news.
enum Trouble {
    /// The change log is not the one of the last pass: the file's content was replaced by another state of it.
    OtherLife { life: String },
    /// Somebody has emptied the change log.
    Empty,
    /// The schema was altered, or a row that the log needs is missing.
    Unsettled,
}

impl Follower {
    pub(super) fn new(connection: SqliteConnection, reopen: Reopen) -> Self {
        Self { connection: Some(connection), reopen, last: None, last_change: Instant::now() }
    }

    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, StorageError> {
        self.connection.as_mut().ok_or_else(|| StorageError::Unavailable("the repository is closed".into()))
    }

    /// Whether anything was committed since the last pass.
    async fn has_news(&mut self) -> Result<bool, StorageError> {
        let data_version = data_version(self.connection()?).await?;
        Ok(self.last.as_ref().is_none_or(|last| last.data_version != data_version))
    }

    /// One look. After a failure the next look has another connection: nobody knows what the transaction of this one became.
    async fn look(
        &mut self,
        database: &Database,
        seen: &SeenChanges,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> Result<Result<LogBatch, Trouble>, StorageError> {
        let looked = self.try_look(database, seen, since, limit).await;
        if looked.is_err() && self.connection.is_some() {
            let connection = self.reopen.connect().await?;
            if let Some(doubtful) = self.connection.replace(connection) {
                let _ = doubtful.close().await;
            }
            // Its data version can be compared only with those of the same connection.
            self.last = None;
        }
        looked
    }

    /// One look, in a transaction of its own, unless something has to be put right first.
    async fn try_look(
        &mut self,
        database: &Database,
        seen: &SeenChanges,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> Result<Result<LogBatch, Trouble>, StorageError> {
        let _looking = seen.look().await;
        let to_find = seen.to_find(since);
        let connection =
            self.connection.as_mut().ok_or_else(|| StorageError::Unavailable("the repository is closed".into()))?;
        let mut tx = connection.begin().await.map_err(driver::sort)?;
        // First: what it tells is then never older than what is read.
        let data_version = data_version(&mut tx).await?;
        if let (Some(last), Some((snapshot, of))) = (&self.last, since)
            && last.data_version == data_version
            && last.incarnation == of
            && last.snapshot == *snapshot
            && to_find.is_empty()
        {
            tx.commit().await.map_err(driver::sort)?;
            return Ok(Ok(last.again()));
        }

        let end = end_of_log(&mut tx, since.map(|(snapshot, _)| snapshot)).await?;
        let Witness { id: newest, salt } = match end.salt {
            Some(_) => lives::newest(end.newest, end.salt),
            None => return Ok(Err(Trouble::Empty)),
        };
        let schema_version = triggers::schema_version(&mut tx).await?;
        let (Some(life), Some(below), true) = (end.life, end.below, end.settled == Some(schema_version)) else {
            return Ok(Err(Trouble::Unsettled));
        };
        let problem = match &self.last {
            Some(last) if last.schema_version == schema_version => last.problem.clone(),
            _ => triggers::problem(&mut tx).await?,
        };
        let incarnation = database.incarnation(&life);
        let (xmax, below) = (newest + 1, number(below));
        let snapshot = Snapshot { xmin: xmax, xmax, in_progress: Vec::new(), salt: Some(salt) };

        // Where the last pass ended, if the log still tells everything from there on.
        let mut resumed = None;
        if let Some((last, of)) = since
            && of == incarnation
        {
            let pruned = below > last.xmin;
            let continues = match end.last_salt {
                None => pruned && xmax >= last.xmax,
                Some(found) => last.salt.is_none_or(|salt| salt == found.cast_unsigned()),
            };
            let found = lives::find(&mut tx, &to_find).await?;
            if !continues || found == Found::NotAll {
                return Ok(Err(Trouble::OtherLife { life }));
            }
            if !pruned && found == Found::All {
                resumed = Some(last.xmax);
            }
        }
        let found = tail(&mut tx, resumed.unwrap_or(below), limit).await?;
        let changes = if let Some(problem) = &problem {
            Changes::Incomplete(problem.clone().into())
        } else if resumed.is_some() && found.len() <= limit as usize {
            Changes::Complete(found)
        } else {
            change::changes_window(below, found, limit)
        };
        tx.commit().await.map_err(driver::sort)?;
        seen.looked(incarnation, Witness { id: newest, salt });
        self.last_change = Instant::now();
        self.last = Some(LastPass { data_version, snapshot: snapshot.clone(), incarnation, schema_version, problem });
        Ok(Ok(LogBatch { snapshot, incarnation, lineage: None, changes }))
    }
}

/// What the log says of itself.
struct EndOfLog {
    newest: i64,
    salt: Option<i64>,
    /// `None` where somebody has removed the row, as with what follows.
    life: Option<String>,
    below: Option<i64>,
    /// As of which version of the schema the log tells of everything.
    settled: Option<i64>,
    /// Of the newest change that the last pass saw, if that is still there.
    last_salt: Option<i64>,
}

async fn end_of_log(tx: &mut SqliteConnection, since: Option<&Snapshot>) -> Result<EndOfLog, StorageError> {
    let last_seen = since.map_or(0, |snapshot| snapshot.xmax.saturating_sub(1));
    let (newest, salt, life, below, settled, last_salt) = sqlx::query_as(
        "SELECT coalesce((SELECT max(id) FROM changes), 0), (SELECT salt FROM changes ORDER BY id DESC LIMIT 1), \
         (SELECT id FROM incarnation), (SELECT below FROM changes_pruned), (SELECT version FROM log_schema), \
         (SELECT salt FROM changes WHERE id = ?1)",
    )
    .bind(signed(last_seen))
    .fetch_one(tx)
    .await
    .map_err(driver::sort)?;
    Ok(EndOfLog { newest, salt, life, below, settled, last_salt })
}

/// The newest changes whose numbers are at least `from`; one more than `limit` tells that there are more.
async fn tail(connection: &mut SqliteConnection, from: u64, limit: u32) -> Result<Vec<Change>, StorageError> {
    let columns = CHANGE_COLUMNS.as_str();
    let sql = format!("SELECT {columns} FROM changes WHERE id >= ?1 ORDER BY id DESC LIMIT ?2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(signed(from))
        .bind(i64::from(limit) + 1)
        .fetch_all(connection)
        .await
        .map_err(driver::sort)?;
    row::changes(&rows)
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, StorageError> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.map_err(driver::sort)
}

impl SqliteRepository {
    pub(super) async fn look(
        &self,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> Result<LogBatch, StorageError> {
        let mut settled = 0;
        loop {
            let database = self.current().await?;
            let looked = database.follower.lock().await.look(&database, &self.seen, since, limit).await?;
            match looked {
                // What was read of a file that is no longer under the path proves nothing.
                Ok(_) if !self.is_in_place(&database)? => {}
                Ok(pass) => {
                    self.horizons.remember(pass.incarnation, Instant::now(), pass.snapshot.xmin);
                    return Ok(pass);
                }
                // The log may be empty, altered and of another life.
                Err(_) if settled == 3 => {
                    return Err(StorageError::Unavailable(
                        "the database goes back in time, or is being altered".into(),
                    ));
                }
                Err(Trouble::Unsettled) => self.settle_log().await?,
                Err(Trouble::OtherLife { life }) => {
                    tracing::warn!("the change log is not the one that it was, beginning another incarnation");
                    self.rename_life(&database, &life).await?;
                }
                Err(Trouble::Empty) => {
                    tracing::warn!("the change log was emptied by hand, every copy may be out of date");
                    self.refill_log(&database).await?;
                }
            }
            settled += 1;
        }
    }

    /// On a connection of the readers, so that the follower's own still has its news to come.
    pub(super) async fn look_back(
        &self,
        since: &Snapshot,
        of: Incarnation,
        limit: u32,
    ) -> Result<Replay, StorageError> {
        let database = self.current().await?;
        let mut tx = Transaction::read(&database.readers).await.map_err(driver::sort)?;
        let end = end_of_log(&mut tx, Some(since)).await?;
        let Witness { id: newest, salt } = lives::newest(end.newest, end.salt);
        let (xmax, below) = (newest + 1, end.below.map_or(u64::MAX, number));
        let same = end.life.is_some_and(|life| database.incarnation(&life) == of) && since.xmax <= xmax;
        let whole = triggers::problem(&mut tx).await?.is_none();
        let replay = match end.last_salt {
            _ if !same => Replay::OtherLife,
            Some(found) if since.salt.is_some_and(|salt| salt != found.cast_unsigned()) => Replay::OtherLife,
            _ if below > since.xmin => Replay::Pruned,
            None if since.xmax > 1 => Replay::OtherLife,
            _ => {
                let snapshot = Snapshot { xmin: xmax, xmax, in_progress: Vec::new(), salt: end.salt.map(|_| salt) };
                let found = tail(&mut tx, since.xmax, limit).await?;
                let changes = if whole {
                    change::changes_after(&snapshot, found, limit)
                } else {
                    Changes::Window { from: xmax, changes: Vec::new() }
                };
                Replay::Told(LogBatch { snapshot, incarnation: of, lineage: None, changes })
            }
        };
        tx.commit().await.map_err(driver::sort)?;
        Ok(replay)
    }

    pub(super) async fn wait_for_change(&self, at_most: Duration) {
        let wait = async {
            loop {
                let database: Arc<Database> = self.opened();
                let pause = {
                    let mut follower = database.follower.lock().await;
                    match follower.has_news().await {
                        Ok(true) => return,
                        Ok(false) if follower.last_change.elapsed() < QUIET => POLL,
                        Ok(false) | Err(_) => QUIET_POLL,
                    }
                };
                if !self.is_in_place(&database).unwrap_or(true) {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        };
        let _ = tokio::time::timeout(at_most, wait).await;
    }

    pub(super) async fn prune_log(&self, retention: Duration) -> Result<u64, StorageError> {
        let database = self.current().await?;
        let (newest, life): (i64, String) =
            sqlx::query_as("SELECT coalesce((SELECT max(id) FROM changes), 0), (SELECT id FROM incarnation)")
                .fetch_one(&database.readers)
                .await
                .map_err(driver::sort)?;
        let (incarnation, now) = (database.incarnation(&life), Instant::now());
        self.horizons.remember(incarnation, now, number(newest) + 1);
        let mut gone = 0;
        if let Some(below) = self.horizons.older_than(incarnation, now, retention) {
            gone += prune_below(&database, signed(below)).await?;
        }
        let forgotten =
            sqlx::query("DELETE FROM requests WHERE create_time < CAST(strftime('%s', 'now') AS INTEGER) - 86400")
                .execute(&database.writer)
                .await
                .map_err(driver::sort)?;
        Ok(gone + forgotten.rows_affected())
    }
}

/// Removes what is below a number, but never the newest row: by that the log is recognised.
async fn prune_below(database: &Database, below: i64) -> Result<u64, StorageError> {
    let mut gone = 0;
    loop {
        let mut tx = Transaction::write(&database.writer).await.map_err(driver::sort)?;
        sqlx::query("UPDATE changes_pruned SET below = ?1 WHERE below < ?1")
            .bind(below)
            .execute(&mut *tx)
            .await
            .map_err(driver::sort)?;
        let done = sqlx::query(
            "DELETE FROM changes WHERE id IN (SELECT id FROM changes \
             WHERE id < ?1 AND id < (SELECT max(id) FROM changes) ORDER BY id LIMIT ?2)",
        )
        .bind(below)
        .bind(BATCH)
        .execute(&mut *tx)
        .await
        .map_err(driver::sort)?;
        tx.commit().await.map_err(driver::sort_sqlite_commit)?;
        gone += done.rows_affected();
        if done.rows_affected() < BATCH.unsigned_abs() {
            return Ok(gone);
        }
    }
}
