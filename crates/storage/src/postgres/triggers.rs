//! The triggers that write the change log: whether they are all there and fire, and putting them right.

use sqlx::{Row, postgres::PgRow};

use super::{PostgresRepository, point, point::POINT};
use crate::{Snapshot, StorageError, driver};

/// A relation of one row, `log(altered, wrong)`: the transactions that last altered the tables, the triggers and their functions, and
/// what is wrong with them. Catalogues are read under the statement's snapshot like any table: a snapshot that sees a change made
/// behind a trigger's back sees what became of the trigger. Names are looked up each time: a statement prepared before the tables were
/// made anew must not ask about the old ones.
///
/// `kind` is `pg_trigger`'s `tgtype`: 1 for each row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate.
pub(super) const LOG: &str = "(SELECT pg_catalog.string_agg(part.altered, ',' ORDER BY part.altered) AS altered, \
         pg_catalog.string_agg(part.wrong, '; ') AS wrong FROM (\
     SELECT c.xmin::text AS altered, NULL AS wrong FROM pg_catalog.pg_class c \
     WHERE c.oid IN (pg_catalog.to_regclass('public.products'), pg_catalog.to_regclass('public.changes')) \
     UNION ALL \
     SELECT pg_catalog.concat_ws(',', t.xmin, p.xmin), 'trigger ' || mine.name || ' of ' || mine.relation || CASE \
         WHEN t.oid IS NULL THEN ' is missing' \
         WHEN t.tgenabled = 'D' THEN ' is switched off' \
         WHEN t.tgenabled <> 'A' THEN ' does not fire always' \
         WHEN t.tgtype <> mine.kind OR t.tgqual IS NOT NULL OR t.tgattr::text <> '' THEN ' does not fire for every change' \
         WHEN p.proname <> mine.name OR p.pronamespace <> pg_catalog.to_regnamespace('public') THEN ' calls another function' END \
     FROM (VALUES \
         ('products', 'product_before_write'::name, 23), \
         ('products', 'product_after_write'::name, 29), \
         ('products', 'product_after_truncate'::name, 32), \
         ('changes', 'change_before_insert'::name, 7)) mine(relation, name, kind) \
     LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = pg_catalog.to_regclass('public.' || mine.relation) AND t.tgname = mine.name AND NOT t.tgisinternal \
     LEFT JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid) part OFFSET 0) AS log";

/// What makes the triggers anew, whatever has become of them.
const REPAIR: &str = "\
    CREATE OR REPLACE TRIGGER product_before_write BEFORE INSERT OR UPDATE ON public.products \
        FOR EACH ROW EXECUTE FUNCTION public.product_before_write(); \
    CREATE OR REPLACE TRIGGER product_after_write AFTER INSERT OR UPDATE OR DELETE ON public.products \
        FOR EACH ROW EXECUTE FUNCTION public.product_after_write(); \
    CREATE OR REPLACE TRIGGER product_after_truncate AFTER TRUNCATE ON public.products \
        FOR EACH STATEMENT EXECUTE FUNCTION public.product_after_truncate(); \
    CREATE OR REPLACE TRIGGER change_before_insert BEFORE INSERT ON public.changes \
        FOR EACH ROW EXECUTE FUNCTION public.change_before_insert(); \
    ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_before_write; \
    ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_after_write; \
    ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_after_truncate; \
    ALTER TABLE public.changes ENABLE ALWAYS TRIGGER change_before_insert; \
    INSERT INTO public.changes (kind) VALUES ('all')";

/// The first snapshot known to have seen the triggers as [`LOG`] tells them; NULL when they are another way than they were seen.
pub(super) const SEEN: &str =
    "(SELECT seen.since::text FROM public.triggers_seen seen WHERE seen.altered = log.altered)";

/// What a statement saw of the triggers.
#[derive(Debug)]
pub(super) struct Triggers {
    /// The transactions that last altered them, as the catalogue has them.
    text: String,
    /// The same, whole.
    altered: Vec<u64>,
    /// The first snapshot that is known to have seen them so.
    since: Option<Snapshot>,
    /// What is wrong with them.
    pub(super) wrong: Option<String>,
}

impl Triggers {
    /// Reads the columns of [`LOG`] and [`SEEN`], which begin at `first`.
    pub(super) fn read(row: &PgRow, first: usize, snapshot: &Snapshot) -> Result<Self, StorageError> {
        let text: String = row.try_get::<Option<_>, _>(first).map_err(driver::sort)?.unwrap_or_default();
        let ids = text.split(',').filter(|id| !id.is_empty());
        let altered = ids.map(|id| Some(with_epoch(id.parse().ok()?, snapshot.xmax))).collect::<Option<_>>();
        let since: Option<&str> = row.try_get(first + 2).map_err(driver::sort)?;
        Ok(Self {
            altered: altered.ok_or_else(|| StorageError::Database("a transaction id that is none".into()))?,
            since: since.map(point::parse_snapshot).transpose()?,
            wrong: row.try_get(first + 1).map_err(driver::sort)?,
            text,
        })
    }

    /// Whether somebody may have altered them since a snapshot, perhaps off and on again: what was changed meanwhile the log may not
    /// tell. An altered row has another transaction, so that rows that are the same now were the same in between.
    pub(super) fn altered_since(&self, snapshot: &Snapshot) -> bool {
        self.since.as_ref().is_none_or(|since| !snapshot.covers(since))
    }

    /// Whether no follower has seen them as they are.
    pub(super) fn are_new(&self) -> bool {
        self.since.is_none()
    }

    /// From this id on they have been as they are.
    pub(super) fn unaltered_from(&self) -> u64 {
        self.altered.iter().max().map_or(0, |id| id + 1)
    }
}

/// The whole id of a transaction below `next` of which the catalogue holds the lower half. Of one more than four thousand million
/// transactions ago it makes a later one: that costs the copies, once in so many.
fn with_epoch(id: u32, next: u64) -> u64 {
    /// Ids below this are none of transactions; rows that somebody made anew have one.
    const FIRST_NORMAL: u32 = 3;
    if id < FIRST_NORMAL {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let back = (next as u32).wrapping_sub(id);
    next.saturating_sub(u64::from(back))
}

impl PostgresRepository {
    /// Remembers, for every replica, the triggers as a snapshot saw them. It waits neither for a standby, as it is part of a look, nor
    /// for another replica.
    pub(super) async fn remember_triggers(&self, triggers: &Triggers, snapshot: &Snapshot) -> Result<(), StorageError> {
        let mut connection = self.connections.for_follower().await.map_err(driver::sort)?;
        sqlx::query(
            "INSERT INTO public.triggers_seen (altered, since) SELECT $1, $2::text::pg_snapshot \
             FROM pg_catalog.set_config('synchronous_commit', 'off', true) AS no_standby, \
             pg_catalog.set_config('lock_timeout', '100ms', true) AS no_replica \
             ON CONFLICT (singleton) DO UPDATE SET altered = EXCLUDED.altered, since = EXCLUDED.since",
        )
        .bind(&triggers.text)
        .bind(point::snapshot_text(snapshot))
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(driver::sort)
    }

    pub(super) async fn repair_log(&self) -> Result<Vec<String>, StorageError> {
        let mut tx = self.begin().await?;
        let sql = format!("SELECT point.snapshot, point.life, log.altered, log.wrong, {SEEN} FROM {POINT}, {LOG}");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *tx).await.map_err(driver::sort)?;
        let (snapshot, _) = point::read(&row)?;
        let triggers = Triggers::read(&row, 2, &snapshot)?;
        sqlx::raw_sql(REPAIR).execute(&mut *tx).await.map_err(driver::sort)?;
        tx.commit().await?;
        Ok(triggers.wrong.iter().flat_map(|wrong| wrong.split("; ")).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_an_id_is_that_of_the_snapshot() {
        const EPOCH: u64 = 1 << 32;
        assert_eq!(with_epoch(700, 800), 700);
        assert_eq!(with_epoch(700, 7 * EPOCH + 800), 7 * EPOCH + 700);
        assert_eq!(with_epoch(900, 7 * EPOCH + 800), 6 * EPOCH + 900, "of the epoch before");
        assert_eq!(with_epoch(2, 7 * EPOCH + 800), 0, "frozen by hand");
    }
}
