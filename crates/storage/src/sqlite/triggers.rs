//! The triggers that write the change log: whether they are all there as they were made, and putting them right.

use std::collections::BTreeMap;

use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::OnceCell;

use super::{
    SqliteRepository,
    database::{migrate, newest_migration},
};
use crate::{StorageError, driver};

/// How the names of the triggers begin that only refuse rows; the log does not depend on them.
const REFUSING: &str = "refuse_";
/// The trigger that says when a change was logged, for measuring alone.
const TIMING: &str = "change_logged_at";
/// The triggers that the migrations make, by name.
static MADE: OnceCell<BTreeMap<String, String>> = OnceCell::const_new();

/// Makes them in an empty database in memory.
async fn made() -> Result<&'static BTreeMap<String, String>, StorageError> {
    MADE.get_or_try_init(|| async {
        let mut memory = SqliteConnectOptions::new()
            .in_memory(true)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(driver::sort)?;
        migrate(&mut memory).await?;
        triggers(&mut memory).await
    })
    .await
}

async fn triggers(connection: &mut SqliteConnection) -> Result<BTreeMap<String, String>, StorageError> {
    let found: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND sql IS NOT NULL")
            .fetch_all(connection)
            .await
            .map_err(driver::sort)?;
    Ok(found.into_iter().collect())
}

/// What is wrong with the triggers, by name.
pub(super) async fn wrong(connection: &mut SqliteConnection) -> Result<Vec<(&'static str, String)>, StorageError> {
    let made = made().await?;
    let found = triggers(connection).await?;
    let migrated = migrated(connection).await?;
    let judge = |(name, sql): (&'static String, &String)| match found.get(name) {
        None => Some((name.as_str(), format!("trigger {name} is missing"))),
        // A later release may have made another one of it.
        Some(other) if other != sql && migrated <= newest_migration() => {
            Some((name.as_str(), format!("trigger {name} is not the one that a migration made")))
        }
        Some(_) => None,
    };
    Ok(made.iter().filter_map(judge).collect())
}

/// What is wrong with those that the log depends on, and what to do about it; `None` when nothing is wrong.
pub(super) async fn problem(connection: &mut SqliteConnection) -> Result<Option<String>, StorageError> {
    let wrong = wrong(connection).await?.into_iter().filter(|(name, _)| !name.starts_with(REFUSING) && *name != TIMING);
    let wrong: Vec<String> = wrong.map(|(_, wrong)| wrong).collect();
    Ok((!wrong.is_empty()).then(|| format!("{}; run `larder database repair`", wrong.join("; "))))
}

/// The newest migration that the file has seen.
async fn migrated(connection: &mut SqliteConnection) -> Result<i64, StorageError> {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM larder_migrations")
        .fetch_one(connection)
        .await
        .map_err(driver::sort)
}

pub(super) async fn schema_version(connection: &mut SqliteConnection) -> Result<i64, StorageError> {
    sqlx::query_scalar("PRAGMA schema_version").fetch_one(connection).await.map_err(driver::sort)
}

/// Puts back what belongs to the log and somebody has removed, and logs a change of everything where the schema was altered. To be
/// called in a transaction that holds the write lock.
pub(super) async fn settle(connection: &mut SqliteConnection) -> Result<(), StorageError> {
    for sql in [
        "INSERT INTO incarnation (singleton) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM incarnation)",
        "INSERT INTO changes_pruned (below) SELECT coalesce((SELECT max(id) FROM changes), 0) + 1 \
         WHERE NOT EXISTS (SELECT 1 FROM changes_pruned)",
    ] {
        let done = sqlx::query(sql).execute(&mut *connection).await.map_err(driver::sort)?;
        if done.rows_affected() > 0 {
            tracing::warn!(sql, "a row that the change log needs was missing and is put back");
        }
    }
    let now = schema_version(connection).await?;
    let settled: Option<i64> = sqlx::query_scalar("SELECT version FROM log_schema")
        .fetch_optional(&mut *connection)
        .await
        .map_err(driver::sort)?;
    if settled == Some(now) {
        return Ok(());
    }
    // In a new file nothing has ever been changed.
    let log = "INSERT INTO changes (kind) SELECT 'all' WHERE (SELECT max(id) FROM changes) <> 1";
    for sql in [log, "DELETE FROM log_schema"] {
        sqlx::query(sql).execute(&mut *connection).await.map_err(driver::sort)?;
    }
    sqlx::query("INSERT INTO log_schema (version) VALUES (?1)")
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
        .map_err(driver::sort)
}

impl SqliteRepository {
    /// Puts right what a look has found.
    pub(super) async fn settle_log(&self) -> Result<(), StorageError> {
        let mut writing = self.begin().await?;
        settle(&mut writing.tx).await?;
        writing.finish((), false).await.map(drop)
    }

    pub(super) async fn repair_log(&self) -> Result<Vec<String>, StorageError> {
        let mut writing = self.begin().await?;
        let tx = &mut *writing.tx;
        if migrated(tx).await? > newest_migration() {
            let text = "a later release has migrated this database: use its `larder database repair`";
            return Err(StorageError::Schema(text.to_owned()));
        }
        let wrong = wrong(tx).await?;
        for (name, _) in &wrong {
            let sql = format!("DROP TRIGGER IF EXISTS {name}; {}", made().await?[*name]);
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(driver::sort)?;
        }
        sqlx::query("INSERT INTO changes (kind) VALUES ('all')").execute(&mut *tx).await.map_err(driver::sort)?;
        settle(tx).await?;
        writing.finish((), false).await?;
        Ok(wrong.into_iter().map(|(_, wrong)| wrong).collect())
    }
}
