//! The triggers that write the change log.

use super::PostgresRepository;
use crate::{StorageError, driver};

/// Each trigger and its table.
const TRIGGERS: [(&str, &str); 4] = [
    ("product_before_write", "products"),
    ("product_after_write", "products"),
    ("product_after_truncate", "products"),
    ("change_before_insert", "changes"),
];

impl PostgresRepository {
    pub(super) async fn repair_log(&self) -> Result<Vec<String>, StorageError> {
        let mut tx = self.begin().await?;
        for (trigger, table) in TRIGGERS {
            let sql = format!("ALTER TABLE public.{table} ENABLE ALWAYS TRIGGER {trigger}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(driver::sort)?;
        }
        sqlx::query("INSERT INTO public.changes (kind) VALUES ('all')")
            .execute(&mut *tx)
            .await
            .map_err(driver::sort)?;
        tx.commit().await.map_err(driver::sort_commit)?;
        Ok(Vec::new())
    }
}
