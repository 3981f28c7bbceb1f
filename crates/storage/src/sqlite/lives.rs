//! Lives of the file: naming another one, and whether changes are of the life that is in it now.

use sqlx::{Row, SqliteConnection, SqliteExecutor};
use tokio::time::timeout;

use super::{
    SqliteRepository,
    database::Database,
    row::{number, signed},
    seen::{Begun, Judgement},
};
use crate::{Incarnation, Recall, Recalled, StorageError, Witness, driver};

/// Which changes of a list of numbers and salts the log has, and from which number on it has all.
const RECALL: &str = "\
    SELECT EXISTS (SELECT 1 FROM changes WHERE id = j.value ->> 0 AND salt = j.value ->> 1), \
    (j.value ->> 0) < (SELECT below FROM changes_pruned), (SELECT id FROM incarnation) \
    FROM json_each(?1) j ORDER BY j.key";

/// What became of changes that loads saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them are there.
    All,
    /// Of those that are not, any may have been pruned.
    NotPruned,
    /// One is not there, that must be.
    NotAll,
}

/// Looks for changes, in the transaction of a look.
pub(super) async fn find(tx: &mut SqliteConnection, changes: &[Witness]) -> Result<Found, StorageError> {
    if changes.is_empty() {
        return Ok(Found::All);
    }
    let (_, recalled) = recall(tx, changes).await?;
    Ok(if recalled.contains(&Recalled::Unknown) {
        Found::NotAll
    } else if recalled.contains(&Recalled::Pruned) {
        Found::NotPruned
    } else {
        Found::All
    })
}

async fn recall(
    executor: impl SqliteExecutor<'_>,
    changes: &[Witness],
) -> Result<(Option<String>, Vec<Recalled>), StorageError> {
    let asked: Vec<(i64, i64)> = changes.iter().map(|change| (signed(change.id), change.salt.cast_signed())).collect();
    let rows = sqlx::query(RECALL).bind(super::write::json(&asked)).fetch_all(executor).await.map_err(driver::sort)?;
    let life = rows.first().map(|row| row.try_get(2)).transpose().map_err(driver::sort)?;
    let recalled = rows.iter().map(|row| {
        Ok(match (row.try_get(0)?, row.try_get(1)?) {
            (true, _) => Recalled::Here,
            (false, false) => Recalled::Unknown,
            (false, true) => Recalled::Pruned,
        })
    });
    Ok((life, recalled.collect::<Result<_, _>>().map_err(driver::sort)?))
}

impl SqliteRepository {
    /// Whether what a load returned is of the life that is followed, as far as anybody can tell now; the next look makes sure.
    pub(super) async fn is_of_this_life(
        &self,
        database: &Database,
        begun: Begun,
        incarnation: Incarnation,
        newest: Witness,
    ) -> Result<bool, StorageError> {
        let quiet = match self.seen.judge(begun, incarnation, newest).await {
            Judgement::Kept => return Ok(true),
            Judgement::OtherLife => return Ok(false),
            Judgement::LookAgain(quiet) => quiet,
        };
        let asked = [newest];
        let again = timeout(self.place.statement_timeout, recall(&database.readers, &asked));
        let (life, recalled) = again.await.map_err(|elapsed| StorageError::Timeout(elapsed.into()))??;
        let same = life.is_some_and(|life| database.incarnation(&life) == incarnation);
        Ok(same && recalled == [Recalled::Here] && matches!(quiet.keep(incarnation, newest), Judgement::Kept))
    }

    pub(super) async fn recall_changes(&self, changes: &[Witness]) -> Result<Recall, StorageError> {
        let database = self.current().await?;
        let (life, changes) = recall(&database.readers, changes).await?;
        let life = life.ok_or_else(|| StorageError::Database("a question without changes".into()))?;
        Ok(Recall { incarnation: database.incarnation(&life), changes })
    }

    /// Begins another incarnation for every process that has the file open.
    pub(super) async fn name_another_life(&self) -> Result<(), StorageError> {
        let database = self.current().await?;
        sqlx::query("UPDATE incarnation SET id = hex(randomblob(16))")
            .execute(&database.writer)
            .await
            .map(drop)
            .map_err(driver::sort)
    }

    /// The same, unless another process has done it since this life was seen.
    pub(super) async fn rename_life(&self, database: &Database, life: &str) -> Result<(), StorageError> {
        sqlx::query("UPDATE incarnation SET id = hex(randomblob(16)) WHERE id = ?1")
            .bind(life)
            .execute(&database.writer)
            .await
            .map(drop)
            .map_err(driver::sort)
    }

    /// Gives a log that somebody has emptied a newest change, by which it is recognised.
    pub(super) async fn refill_log(&self, database: &Database) -> Result<(), StorageError> {
        sqlx::query("INSERT INTO changes (kind) SELECT 'all' WHERE NOT EXISTS (SELECT 1 FROM changes)")
            .execute(&database.writer)
            .await
            .map(drop)
            .map_err(driver::sort)
    }
}

/// The newest change of a log. An empty log has the number and the salt 0.
pub(super) fn newest(id: i64, salt: Option<i64>) -> Witness {
    Witness { id: number(id), salt: salt.unwrap_or(0).cast_unsigned() }
}
