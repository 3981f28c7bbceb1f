//! Lives of the database: naming another one, and asking the log whether this one has a commit of an earlier one.

use std::{sync::Arc, time::Duration};

use sqlx::Row;

use super::{
    PostgresRepository,
    point::{self, Life, POINT},
    pool::Connections,
    row::Xid,
    transaction::Transaction,
};
use crate::{Recall, Recalled, StorageError, Witness, driver};

/// A log of another server may be long, and is removed at once.
const DISOWN_LIMIT: Duration = Duration::from_mins(10);
const DISOWN_TIMEOUT: &str = "SET LOCAL statement_timeout = '10min'";
/// What that server's numbers say. Of the replicas that come here together the first finds something.
const DISOWN_ROWS: &str = "\
    DELETE FROM public.changes WHERE xid >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())";
const DISOWN_MARK: &str = "\
    UPDATE public.changes_pruned SET below = pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) \
    WHERE below > pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())";
const ANOTHER_LIFE: &str = "\
    INSERT INTO public.incarnation DEFAULT VALUES \
    ON CONFLICT (singleton) DO UPDATE SET id = pg_catalog.gen_random_uuid()";

impl PostgresRepository {
    /// Begins another incarnation for every replica at once; the first to notice wins.
    pub(super) async fn rename_life(&self, old: &str) -> Result<(), StorageError> {
        let mut connection = self.connections.for_follower().await.map_err(driver::sort)?;
        sqlx::query("UPDATE public.incarnation SET id = pg_catalog.gen_random_uuid() WHERE id = $1::text::uuid")
            .bind(old)
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(driver::sort)
    }

    /// Begins another incarnation, whatever the present one is.
    pub(super) async fn name_another_life(&self) -> Result<(), StorageError> {
        let mut connection = self.acquire().await.map_err(driver::sort)?;
        sqlx::query(ANOTHER_LIFE).execute(&mut *connection).await.map(drop).map_err(driver::sort)
    }

    /// Removes what another server wrote into the log, and begins another incarnation. Goes on when whoever asked for it has
    /// gone: a look has less time than this may take.
    pub(super) async fn disown_log(&self) -> Result<(), StorageError> {
        let Ok(alone) = Arc::clone(&self.disowning).try_lock_owned() else {
            return Err(StorageError::Unavailable("another server's change log is being removed".into()));
        };
        let connections = Arc::clone(&self.connections);
        let done = tokio::spawn(async move {
            let done = disown(&connections).await;
            drop(alone);
            done
        });
        done.await.unwrap_or_else(|error| Err(StorageError::Unavailable(error.into()))).map(|removed| {
            if let Some(rows) = removed {
                tracing::warn!(
                    rows,
                    "the change log was another server's: it is removed, beginning another incarnation"
                );
            }
        })
    }

    pub(super) async fn recall_changes(&self, changes: &[Witness]) -> Result<Recall, StorageError> {
        let sql = format!(
            "SELECT point.snapshot, point.life, EXISTS (\
                 SELECT 1 FROM public.changes c WHERE c.xid = asked.id AND c.salt = asked.salt), \
             asked.id < (SELECT below FROM public.changes_pruned) \
             FROM {POINT} CROSS JOIN ROWS FROM (pg_catalog.unnest($1::xid8[]), pg_catalog.unnest($2::bigint[])) \
             WITH ORDINALITY AS asked(id, salt, n) ORDER BY asked.n"
        );
        let mut named = false;
        loop {
            let mut connection = self.connections.for_follower().await.map_err(driver::sort)?;
            let ids: Vec<Xid> = changes.iter().map(|change| Xid(change.id)).collect();
            let salts: Vec<i64> = changes.iter().map(|change| change.salt.cast_signed()).collect();
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(ids)
                .bind(salts)
                .fetch_all(&mut *connection)
                .await
                .map_err(driver::sort)?;
            let Some(first) = rows.first() else {
                return Err(StorageError::Database("a question without changes".into()));
            };
            match point::read(first)?.1 {
                Life::Known(incarnation) => {
                    let recalled = rows.iter().map(|row| {
                        Ok(match (row.try_get(2)?, row.try_get::<Option<bool>, _>(3)?) {
                            (true, _) => Recalled::Here,
                            (false, Some(false)) => Recalled::Unknown,
                            (false, _) => Recalled::Pruned,
                        })
                    });
                    let changes = recalled.collect::<Result<_, _>>().map_err(driver::sort)?;
                    return Ok(Recall { incarnation, changes });
                }
                Life::Unnamed if !named => {
                    named = true;
                    point::name_life(&mut connection).await?;
                }
                Life::Unnamed | Life::Standby => {
                    return Err(StorageError::Unavailable("the database has no incarnation".into()));
                }
            }
        }
    }
}

/// In one transaction. Returns how many rows went; `None` when another replica had done it.
async fn disown(connections: &Connections) -> Result<Option<u64>, StorageError> {
    let mut tx = Transaction::begin(connections).await?;
    tx.take_time(DISOWN_LIMIT + DISOWN_LIMIT / 10);
    sqlx::query(DISOWN_TIMEOUT).execute(&mut *tx).await.map_err(driver::sort)?;
    let mark = sqlx::query(DISOWN_MARK).execute(&mut *tx).await.map_err(driver::sort)?.rows_affected();
    let rows = sqlx::query(DISOWN_ROWS).execute(&mut *tx).await.map_err(driver::sort)?.rows_affected();
    if mark + rows > 0 {
        sqlx::query(ANOTHER_LIFE).execute(&mut *tx).await.map_err(driver::sort)?;
    }
    tx.commit().await?;
    Ok((mark + rows > 0).then_some(rows))
}
