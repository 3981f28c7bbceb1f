//! Requested invalidations.

use sqlx::PgConnection;

use super::{
    PostgresRepository,
    write::{claim, finish},
};
use crate::{
    Committed, Invalidating, Invalidation, StorageError, driver,
    request::{Remembered, invalidation_fingerprint},
};

/// The trigger of the change log gives the rows the id of the transaction and wakes those who follow it.
const INVALIDATE: &str = "\
    INSERT INTO public.changes (kind, key) \
    SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))";

impl PostgresRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, invalidations).await?;
        finish(tx, (), false).await
    }

    pub(super) async fn try_invalidate_once(
        &self,
        request: &str,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        let mut tx = self.begin().await?;
        let fingerprint = || invalidation_fingerprint(invalidations);
        let value = match claim(&mut tx, Some(request), fingerprint).await? {
            Remembered::Nothing => {
                insert(&mut tx, invalidations).await?;
                Invalidating::Done
            }
            Remembered::Reply(_) => Invalidating::Repeated,
            Remembered::OtherCall => Invalidating::RequestIdReused,
        };
        finish(tx, value, false).await
    }
}

async fn insert(tx: &mut PgConnection, invalidations: &[Invalidation]) -> Result<(), StorageError> {
    let (kinds, keys): (Vec<_>, Vec<_>) = invalidations.iter().map(Invalidation::row).unzip();
    sqlx::query(INVALIDATE).bind(kinds).bind(keys).execute(tx).await.map(drop).map_err(driver::sort)
}
