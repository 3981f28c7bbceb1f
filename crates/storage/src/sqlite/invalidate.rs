//! Requested invalidations.

use sqlx::SqliteConnection;

use super::{
    SqliteRepository,
    write::{json, recall, remember},
};
use crate::{
    Committed, Invalidating, Invalidation, StorageError, driver,
    request::{Remembered, event_name, invalidation_fingerprint},
};

const INVALIDATE: &str = "INSERT INTO changes (kind, key) SELECT value ->> 0, value ->> 1 FROM json_each(?1)";
/// Remembers the id for a day from now.
const RAISE: &str = "\
    UPDATE requests SET signed = ?2, create_time = CAST(strftime('%s', 'now') AS INTEGER) \
    WHERE id = ?1 AND (signed < ?2 OR signed IS NULL)";

impl SqliteRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut writing = self.begin().await?;
        insert(&mut writing.tx, invalidations).await?;
        writing.finish((), false).await
    }

    pub(super) async fn try_invalidate_once(
        &self,
        request: &str,
        signed: u64,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        let request = &event_name(request);
        let mut writing = self.begin().await?;
        let fingerprint = invalidation_fingerprint(invalidations);
        let tx = &mut writing.tx;
        let value = match recall(tx, Some(request), &fingerprint).await? {
            Remembered::Nothing => {
                insert(tx, invalidations).await?;
                remember(tx, Some(request), &fingerprint, "").await?;
                raise(tx, request, signed).await?;
                Invalidating::Done
            }
            Remembered::Reply(_) if raise(tx, request, signed).await? => Invalidating::Repeated,
            Remembered::Reply(_) => Invalidating::Replayed,
            Remembered::OtherCall => Invalidating::RequestIdReused,
        };
        writing.finish(value, false).await
    }
}

/// Remembers when a call was signed; false when one that was signed no earlier has come before.
async fn raise(tx: &mut SqliteConnection, request: &str, signed: u64) -> Result<bool, StorageError> {
    let signed = i64::try_from(signed).unwrap_or(i64::MAX);
    let done = sqlx::query(RAISE).bind(request).bind(signed).execute(tx).await.map_err(driver::sort)?;
    Ok(done.rows_affected() > 0)
}

async fn insert(tx: &mut SqliteConnection, invalidations: &[Invalidation]) -> Result<(), StorageError> {
    let rows: Vec<_> = invalidations.iter().map(Invalidation::row).collect();
    sqlx::query(INVALIDATE).bind(json(&rows)).execute(tx).await.map(drop).map_err(driver::sort)
}
