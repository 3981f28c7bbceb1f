//! Transactions of pooled connections.

use std::ops::{Deref, DerefMut};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

/// A transaction whose connection goes back to the pool only after a COMMIT or ROLLBACK that succeeded. Otherwise the connection is
/// closed: after a COMMIT that failed, as on a full disk, SQLite has ended the transaction and the driver does not know.
pub(super) struct Transaction {
    connection: PoolConnection<Sqlite>,
    ended: bool,
}

impl Transaction {
    /// Begins a transaction that holds the write lock.
    pub(super) async fn write(pool: &SqlitePool) -> sqlx::Result<Self> {
        Self::begin(pool, "BEGIN IMMEDIATE").await
    }

    /// Begins a transaction that reads.
    pub(super) async fn read(pool: &SqlitePool) -> sqlx::Result<Self> {
        Self::begin(pool, "BEGIN").await
    }

    async fn begin(pool: &SqlitePool, sql: &'static str) -> sqlx::Result<Self> {
        // Made before BEGIN runs, so that a caller who goes away meanwhile leaves no transaction in the pool.
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        sqlx::query(sql).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    pub(super) async fn commit(self) -> sqlx::Result<()> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(self) -> sqlx::Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::query(sql).execute(&mut *self).await?;
        self.ended = true;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
