//! The triggers that write the change log.

use super::SqliteRepository;
use crate::{StorageError, driver};

impl SqliteRepository {
    pub(super) async fn repair_log(&self) -> Result<Vec<String>, StorageError> {
        let mut writing = self.begin().await?;
        sqlx::query("INSERT INTO changes (kind) VALUES ('all')")
            .execute(&mut *writing.tx)
            .await
            .map_err(driver::sort)?;
        writing.finish((), false).await?;
        Ok(Vec::new())
    }
}
