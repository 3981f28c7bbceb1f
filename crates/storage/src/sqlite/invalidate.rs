//! Requested invalidations.

use super::{SqliteRepository, write::json};
use crate::{Committed, Invalidation, StorageError, driver};

const INVALIDATE: &str = "INSERT INTO changes (kind, key) SELECT value ->> 0, value ->> 1 FROM json_each(?1)";

impl SqliteRepository {
    pub(super) async fn try_invalidate(&self, invalidations: &[Invalidation]) -> Result<Committed<()>, StorageError> {
        let mut writing = self.begin().await?;
        let rows: Vec<_> = invalidations.iter().map(Invalidation::row).collect();
        sqlx::query(INVALIDATE).bind(json(&rows)).execute(&mut *writing.tx).await.map_err(driver::sort)?;
        writing.finish((), false).await
    }
}
