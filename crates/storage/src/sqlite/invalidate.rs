//! Requested invalidations.

use sqlx::SqliteConnection;

use super::{
    SqliteRepository,
    write::{json, recall, remember},
};
use crate::{
    Committed, Invalidating, Invalidation, StorageError, driver,
    request::{Remembered, invalidation_fingerprint},
};

const INVALIDATE: &str = "INSERT INTO changes (kind, key) SELECT value ->> 0, value ->> 1 FROM json_each(?1)";

impl SqliteRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut writing = self.begin().await?;
        insert(&mut writing.tx, invalidations).await?;
        writing.finish((), false).await
    }

    pub(super) async fn try_invalidate_once(
        &self,
        request: &str,
        invalidations: &[Invalidation],
    ) -> Result<Committed<Invalidating>, StorageError> {
        let mut writing = self.begin().await?;
        let fingerprint = invalidation_fingerprint(invalidations);
        let tx = &mut writing.tx;
        let value = match recall(tx, Some(request), &fingerprint).await? {
            Remembered::Nothing => {
                insert(tx, invalidations).await?;
                remember(tx, Some(request), &fingerprint, "").await?;
                Invalidating::Done
            }
            Remembered::Reply(_) => Invalidating::Repeated,
            Remembered::OtherCall => Invalidating::RequestIdReused,
        };
        writing.finish(value, false).await
    }
}

async fn insert(tx: &mut SqliteConnection, invalidations: &[Invalidation]) -> Result<(), StorageError> {
    let rows: Vec<_> = invalidations.iter().map(Invalidation::row).collect();
    sqlx::query(INVALIDATE).bind(json(&rows)).execute(tx).await.map(drop).map_err(driver::sort)
}
