//! Requested invalidations.

use super::{PostgresRepository, write::finish};
use crate::{Committed, Invalidation, StorageError, driver};

/// The trigger of the change log gives the rows the id of the transaction and wakes those who follow it.
const INVALIDATE: &str = "\
    INSERT INTO public.changes (kind, key) \
    SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))";

impl PostgresRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut tx = self.begin().await?;
        let (kinds, keys): (Vec<_>, Vec<_>) = invalidations.iter().map(Invalidation::row).unzip();
        sqlx::query(INVALIDATE).bind(kinds).bind(keys).execute(&mut *tx).await.map_err(driver::sort)?;
        finish(tx, (), false).await
    }
}
