//! The change log: looking at it and pruning it.

use std::{pin::pin, sync::LazyLock, time::Duration};

use sqlx::{Row, postgres::PgRow};
use tokio::time::{Instant, timeout};

use super::{
    PostgresRepository,
    point::{self, Life, POINT},
    row::Xid,
    session::Session,
    triggers::{LOG, SEEN, Triggers},
};
use crate::{
    Cause, Change, Changes, Incarnation, Lineage, LogBatch, Replay, Snapshot, StorageError, Subject, Term,
    change::{self, OVERSIZED},
    driver, trace,
};

/// How many rows one transaction of the pruner removes.
const BATCH: i64 = 10_000;
/// Whether a row of the change log is small enough to be fetched; [`change::subject`] judges it exactly. Anybody may have written a
/// row of hundreds of megabytes, and a look that fetched it would take longer than the staleness bound. The size as stored comes first:
/// it is known without reading the value.
static FITS: LazyLock<String> = LazyLock::new(|| {
    let (terms, bytes) = (change::MOST_TERMS, change::MOST_BYTES);
    format!(
        "CASE WHEN pg_catalog.octet_length(key) > {bytes} \
         OR pg_catalog.pg_column_size(categories) + pg_catalog.pg_column_size(tags) > 2 * {bytes} THEN false \
         WHEN pg_catalog.cardinality(categories) + pg_catalog.cardinality(tags) > 2 * {terms} THEN false \
         WHEN pg_catalog.pg_column_size(categories) + pg_catalog.pg_column_size(tags) <= 2048 THEN true \
         ELSE pg_catalog.octet_length(categories::text) + pg_catalog.octet_length(tags::text) <= 4 * {bytes} END"
    )
});
/// How long the follower waits for its own connection alone: with the time between two passes it is well within the bound.
const SOON: Duration = Duration::from_millis(400);

impl PostgresRepository {
    pub(super) async fn look(
        &self,
        mut since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> Result<LogBatch, StorageError> {
        let mut settled = false;
        // What came before was logged under triggers that were altered since: a window leaves it out, however large it is.
        let mut unaltered_from = 0;
        loop {
            let start = since.map_or(Start::Window { from: unaltered_from }, |(snapshot, _)| Start::After(snapshot));
            let seen = self.look_once(Looker::Follower, start, limit).await?;
            unaltered_from = seen.triggers.unaltered_from();
            if seen.of_another_server() {
                if settled {
                    return Err(StorageError::Unavailable("the change log is another server's".into()));
                }
                settled = true;
                self.disown_log().await?;
                continue;
            }
            match seen.life {
                Life::Standby => return Err(StorageError::Unavailable("the server is a standby".into())),
                Life::Known(incarnation) => {
                    let went_back = since.is_some_and(|(last, of)| of == incarnation && seen.snapshot.xmax < last.xmax);
                    if !went_back {
                        if seen.pruned_below.is_none() {
                            self.restore_mark(&seen.snapshot).await?;
                        }
                        if seen.triggers.are_new() {
                            // Until that is done, every look starts anew.
                            if let Err(error) = self.remember_triggers(&seen.triggers, &seen.snapshot).await {
                                tracing::debug!(%error, "what was seen of the triggers is not remembered");
                            }
                        }
                        self.horizons.remember(incarnation, Instant::now(), seen.snapshot.xmin);
                        if let Some(pass) = seen.pass(since, incarnation, limit) {
                            return Ok(pass);
                        }
                        // The statement that reads them back is a pass of its own, under its own snapshot.
                        since = None;
                        continue;
                    }
                    if settled {
                        return Err(StorageError::Unavailable("the database goes back in time".into()));
                    }
                    tracing::warn!("transaction ids went back, beginning another incarnation");
                    self.rename_life(&seen.life_id).await?;
                }
                Life::Unnamed if settled => {
                    return Err(StorageError::Unavailable("the database has no incarnation".into()));
                }
                Life::Unnamed => {
                    let mut connection = self.connections.for_follower().await.map_err(driver::sort)?;
                    point::name_life(&mut connection).await?;
                }
            }
            settled = true;
        }
    }

    pub(super) async fn look_back(
        &self,
        since: &Snapshot,
        of: Incarnation,
        limit: u32,
    ) -> Result<Replay, StorageError> {
        let seen = self.look_once(Looker::Other, Start::After(since), limit).await?;
        if seen.life == Life::Standby {
            return Err(StorageError::Unavailable("the server is a standby".into()));
        }
        if seen.life != Life::Known(of) || seen.snapshot.xmax < since.xmax || seen.of_another_server() {
            return Ok(Replay::OtherLife);
        }
        if seen.pruned_below() > since.xmin {
            return Ok(Replay::Pruned);
        }
        let changes = if seen.triggers.wrong.is_some() || seen.triggers.altered_since(since) {
            Changes::Window { from: seen.snapshot.xmax, changes: Vec::new() }
        } else {
            change::changes_after(&seen.snapshot, seen.changes, limit)
        };
        Ok(Replay::Told(LogBatch {
            snapshot: seen.snapshot,
            incarnation: of,
            lineage: Some(Lineage(seen.lineage)),
            changes,
        }))
    }

    /// One statement outside any transaction: its snapshot, and the changes from `start` on that it sees. One more than `limit` tells
    /// that there are more.
    pub(super) async fn look_once(&self, looker: Looker, start: Start<'_>, limit: u32) -> Result<Seen, StorageError> {
        let which = match start {
            Start::After(_) => "xid >= $2 OR xid = ANY($3)",
            Start::Window { .. } => {
                "xid >= $2 AND xid >= coalesce((SELECT below FROM public.changes_pruned), pg_catalog.pg_snapshot_xmax(\
                 point.snapshot::pg_catalog.pg_snapshot)) ORDER BY xid DESC"
            }
        };
        let fits = FITS.as_str();
        let sql = format!(
            "SELECT point.snapshot, point.life, (SELECT id::text FROM public.incarnation), \
             (SELECT below FROM public.changes_pruned), log.altered, log.wrong, {SEEN}, \
             c.xid, CASE WHEN c.fits THEN c.kind ELSE '{OVERSIZED}' END, CASE WHEN c.fits THEN c.key ELSE '' END, c.version, \
             CASE WHEN c.fits THEN c.categories END, CASE WHEN c.fits THEN c.tags END, c.salt, {CAUSE} \
             FROM {POINT} CROSS JOIN {LOG} \
             LEFT JOIN LATERAL (SELECT *, {fits} AS fits FROM public.changes WHERE {which} LIMIT $1) c ON true"
        );
        let mut attempts = self.connections.attempts();
        let rows = loop {
            let rows = match looker {
                Looker::Follower => self.read_soon(&sql, start, limit).await,
                Looker::Other => async { read_log(&mut *self.acquire().await?, &sql, start, limit).await }.await,
            };
            match rows {
                Err(error) if attempts > 1 && driver::connection_lost(&error) => attempts -= 1,
                Err(error) if driver::on_standby(&error) => return Err(StorageError::Unavailable(error.into())),
                result => break result.map_err(driver::sort)?,
            }
        };
        let Some(first) = rows.first() else {
            return Err(StorageError::Database("a pass returned no row".into()));
        };
        let (snapshot, life) = point::read(first)?;
        let below: Option<Xid> = first.try_get(3).map_err(driver::sort)?;
        let triggers = Triggers::read(first, 4, &snapshot)?;
        Ok(Seen {
            pruned_below: below.map(|Xid(below)| below),
            triggers,
            snapshot,
            life,
            lineage: point::lineage(first)?,
            life_id: first.try_get::<Option<String>, _>(2).map_err(driver::sort)?.unwrap_or_default(),
            changes: changes(&rows, 7)?,
        })
    }

    /// Reads the log on the follower's own connection. That may be dead: when it does not answer soon, the same is read on a new
    /// one as well, and whichever answers first is the follower's own from then on.
    async fn read_soon(&self, sql: &str, start: Start<'_>, limit: u32) -> Result<Vec<PgRow>, sqlx::Error> {
        let read_own = async { read_log(&mut *self.connections.for_follower().await?, sql, start, limit).await };
        let read_anew = async {
            let mut session = self.connections.another_for_follower().await?;
            Ok::<_, sqlx::Error>((read_log(&mut session, sql, start, limit).await?, session))
        };
        let (rows, session) = {
            let mut read_own = pin!(read_own);
            if let Ok(rows) = timeout(SOON, &mut read_own).await {
                return rows;
            }
            tokio::select! {
                biased;
                rows = &mut read_own => return rows,
                Ok(read) = read_anew => read,
            }
        };
        self.connections.give_follower(session);
        Ok(rows)
    }

    /// Puts back the mark below which changes may be gone, where somebody removed it: everything up to now may be.
    async fn restore_mark(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        tracing::warn!("the table changes_pruned is empty, putting its row back");
        let mut connection = self.acquire().await.map_err(driver::sort)?;
        sqlx::query(
            "INSERT INTO public.changes_pruned (below) SELECT $1 \
             FROM pg_catalog.set_config('synchronous_commit', 'off', true) ON CONFLICT DO NOTHING",
        )
        .bind(Xid(snapshot.xmax))
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(driver::sort)
    }

    pub(super) async fn prune_log(&self, retention: Duration) -> Result<u64, StorageError> {
        let seen = self.look_once(Looker::Other, Start::Window { from: 0 }, 0).await?;
        let Life::Known(incarnation) = seen.life else {
            return Ok(0);
        };
        let now = Instant::now();
        self.horizons.remember(incarnation, now, seen.snapshot.xmin);
        let mut gone = 0;
        if let Some(below) = self.horizons.older_than(incarnation, now, retention) {
            gone += self.prune_below(below).await?;
        }
        loop {
            let mut connection = self.connections.for_write().await.map_err(driver::sort)?;
            let done = sqlx::query(
                "DELETE FROM public.requests WHERE id IN (SELECT id FROM public.requests \
                 WHERE create_time < pg_catalog.now() - interval '1 day' LIMIT $1)",
            )
            .bind(BATCH)
            .execute(&mut *connection)
            .await
            .map_err(driver::sort)?;
            gone += done.rows_affected();
            if done.rows_affected() < BATCH.unsigned_abs() {
                return Ok(gone);
            }
        }
    }

    /// Removes what is below a transaction, but never the newest one's rows: whoever has its token can be told that it is there.
    async fn prune_below(&self, below: u64) -> Result<u64, StorageError> {
        let mut gone = 0;
        loop {
            let mut tx = self.begin().await?;
            sqlx::query("UPDATE public.changes_pruned SET below = $1 WHERE below < $1")
                .bind(Xid(below))
                .execute(&mut *tx)
                .await
                .map_err(driver::sort)?;
            let done = sqlx::query(
                "DELETE FROM public.changes WHERE ctid = ANY(ARRAY(\
                 SELECT ctid FROM public.changes WHERE xid < $1 \
                 AND xid < (SELECT xid FROM public.changes ORDER BY xid DESC LIMIT 1) LIMIT $2))",
            )
            .bind(Xid(below))
            .bind(BATCH)
            .execute(&mut *tx)
            .await
            .map_err(driver::sort)?;
            tx.commit().await?;
            gone += done.rows_affected();
            if done.rows_affected() < BATCH.unsigned_abs() {
                return Ok(gone);
            }
        }
    }
}

/// Reads what [`PostgresRepository::look_once`] asks for.
async fn read_log(session: &mut Session, sql: &str, start: Start<'_>, limit: u32) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(limit) + 1);
    let query = match start {
        Start::After(last) => {
            let in_progress: Vec<Xid> = last.in_progress.iter().copied().map(Xid).collect();
            query.bind(Xid(last.xmax)).bind(in_progress)
        }
        Start::Window { from } => query.bind(Xid(from)),
    };
    query.fetch_all(session).await
}

/// Who looks: the follower does not wait for others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Looker {
    Follower,
    Other,
}

/// Where the changes begin that a look reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// With those that this snapshot did not see.
    After(&'a Snapshot),
    /// With the newest ones, back to this id.
    Window {
        /// The least id.
        from: u64,
    },
}

/// What one statement saw.
pub(super) struct Seen {
    pub(super) snapshot: Snapshot,
    pub(super) life: Life,
    lineage: u64,
    life_id: String,
    /// `None` when somebody has removed the mark.
    pruned_below: Option<u64>,
    triggers: Triggers,
    changes: Vec<Change>,
}

impl Seen {
    /// Without the mark nobody knows what was pruned.
    fn pruned_below(&self) -> u64 {
        self.pruned_below.unwrap_or(self.snapshot.xmax)
    }

    /// Whether the log was written by another server, as that of a dump that was restored here: what is visible has an id below
    /// the snapshot's end, and so does what was pruned.
    fn of_another_server(&self) -> bool {
        let end = self.snapshot.xmax;
        self.pruned_below() > end || self.changes.iter().any(|change| change.id >= end)
    }

    /// The pass; `None` when what was read is not all that came after `since`, and the newest changes are to be read instead.
    fn pass(self, since: Option<(&Snapshot, Incarnation)>, incarnation: Incarnation, limit: u32) -> Option<LogBatch> {
        let (pruned_below, lineage) = (self.pruned_below(), Some(Lineage(self.lineage)));
        if let Some(wrong) = self.triggers.wrong {
            let changes = Changes::Incomplete(format!("{wrong}; run `larder database repair`").into());
            return Some(LogBatch { snapshot: self.snapshot, incarnation, lineage, changes });
        }
        let changes = match since {
            // What was changed while the triggers were not as they are now, nobody knows.
            None => change::changes_window(pruned_below.max(self.triggers.unaltered_from()), self.changes, limit),
            Some((last, of))
                if of == incarnation
                    && pruned_below <= last.xmin
                    && !self.triggers.altered_since(last)
                    && self.changes.len() <= limit as usize =>
            {
                Changes::Complete(self.changes)
            }
            Some(_) => return None,
        };
        Some(LogBatch { snapshot: self.snapshot, incarnation, lineage, changes })
    }
}

/// The columns of a change's [`Cause`].
pub(super) const CAUSE: &str = "CASE WHEN pg_catalog.octet_length(c.traceparent) <= 64 THEN c.traceparent END, (EXTRACT(EPOCH FROM c.logged_at) * 1000000)::bigint";

/// Reads the changes whose columns `xid, kind, key, version, categories, tags, salt` and [`CAUSE`] begin at `first`, and puts them in
/// order.
pub(super) fn changes(rows: &[PgRow], first: usize) -> Result<Vec<Change>, StorageError> {
    let mut changes = Vec::new();
    for row in rows {
        if let Some(Xid(id)) = row.try_get(first).map_err(driver::sort)? {
            let salt: i64 = row.try_get(first + 6).map_err(driver::sort)?;
            let subject = change::subject(id, subject(row, first));
            let logged: Option<i64> = row.try_get(first + 8).map_err(driver::sort)?;
            let cause = Cause {
                trace: trace::parse(row.try_get(first + 7).map_err(driver::sort)?),
                logged_micros: logged.and_then(|micros| u64::try_from(micros).ok()),
            };
            changes.push(Change { id, salt: salt.cast_unsigned(), subject, cause });
        }
    }
    Ok(change::in_order(changes))
}

fn subject(row: &PgRow, first: usize) -> Result<Subject, sqlx::Error> {
    let key: String = row.try_get(first + 2)?;
    Ok(match row.try_get::<&str, _>(first + 1)? {
        "put" => Subject::Put { key, version: row.try_get(first + 3)?, terms: terms(row, first + 4)? },
        "delete" => Subject::Delete { key, version: row.try_get(first + 3)?, terms: terms(row, first + 4)? },
        "key" => Subject::Key(key),
        "category" => Subject::Term(Term::Category(key)),
        "tag" => Subject::Term(Term::Tag(key)),
        "pattern" => Subject::Pattern(key),
        OVERSIZED => return Err(sqlx::Error::Decode("too large".into())),
        // Whatever a later release may log touches no more than everything.
        _ => Subject::All,
    })
}

fn terms(row: &PgRow, first: usize) -> Result<Vec<Term>, sqlx::Error> {
    let (categories, tags): (Vec<String>, Vec<String>) = (row.try_get(first)?, row.try_get(first + 1)?);
    Ok(change::terms(categories, tags))
}
