//! Requested invalidations.

use super::{
    PostgresRepository,
    session::Session,
    write::{claim, finish},
};
use crate::{
    Committed, Invalidating, Invalidation, StorageError, driver,
    request::{Remembered, event_name, invalidation_fingerprint},
};

/// The trigger of the change log gives the rows the id of the transaction and wakes those who follow it.
const INVALIDATE: &str = "\
    INSERT INTO public.changes (kind, key) \
    SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))";
/// Remembers the id for a day from now. Of two at once the second sees what the first has written.
const RAISE: &str = "\
    UPDATE public.requests SET signed = $2, create_time = pg_catalog.now() \
    WHERE id = $1 AND (signed < $2 OR signed IS NULL)";

impl PostgresRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, invalidations).await?;
        finish(tx, (), false).await
    }

    pub(super) async fn try_invalidate_once(
        &self,
        request: &str,
        signed: u64,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        let request = &event_name(request);
        let mut tx = self.begin().await?;
        let fingerprint = || invalidation_fingerprint(invalidations);
        let value = match claim(&mut tx, Some(request), fingerprint).await? {
            Remembered::Nothing => {
                raise(&mut tx, request, signed).await?;
                insert(&mut tx, invalidations).await?;
                Invalidating::Done
            }
            Remembered::Reply(_) if raise(&mut tx, request, signed).await? => Invalidating::Repeated,
            Remembered::Reply(_) => Invalidating::Replayed,
            Remembered::OtherCall => Invalidating::RequestIdReused,
        };
        finish(tx, value, false).await
    }
}

/// Remembers when a call was signed; false when one that was signed no earlier has come before.
async fn raise(tx: &mut Session, request: &str, signed: u64) -> Result<bool, StorageError> {
    let signed = i64::try_from(signed).unwrap_or(i64::MAX);
    let done = sqlx::query(RAISE).bind(request).bind(signed).execute(tx).await.map_err(driver::sort)?;
    Ok(done.rows_affected() > 0)
}

async fn insert(tx: &mut Session, invalidations: &[Invalidation]) -> Result<(), StorageError> {
    let (kinds, keys): (Vec<_>, Vec<_>) = invalidations.iter().map(Invalidation::row).unzip();
    sqlx::query(INVALIDATE).bind(kinds).bind(keys).execute(tx).await.map(drop).map_err(driver::sort)
}
