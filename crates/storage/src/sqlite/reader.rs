//! A connection whose statement ends when nobody waits for it any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{QueryBuilder, Sqlite, SqlitePool, pool::PoolConnection, sqlite::SqliteRow};

/// Instructions of SQLite's virtual machine between two looks whether somebody still waits: some tens of microseconds.
const LOOK: i32 = 10_000;

/// A connection for one statement that may take long. A statement runs on a thread of its connection, and would go on there whatever
/// becomes of its future. When this is dropped before the statement has ended, the statement is interrupted and the connection closed.
pub(super) struct Reader {
    /// `None` once the statement has ended.
    connection: Option<PoolConnection<Sqlite>>,
    abandoned: Arc<AtomicBool>,
}

impl Reader {
    pub(super) async fn acquire(readers: &SqlitePool) -> Result<Self, sqlx::Error> {
        let mut connection = readers.acquire().await?;
        let abandoned = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&abandoned);
        // It stays until the next one takes its place, and interrupts nothing else: an abandoned connection is closed.
        connection.lock_handle().await?.set_progress_handler(LOOK, move || !seen.load(Ordering::Relaxed));
        Ok(Self { connection: Some(connection), abandoned })
    }

    /// Runs the statement.
    pub(super) async fn fetch_all(mut self, mut sql: QueryBuilder<Sqlite>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let Some(connection) = &mut self.connection else { return Err(sqlx::Error::PoolClosed) };
        let rows = sql.build().fetch_all(&mut **connection).await;
        self.connection = None;
        rows
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.abandoned.store(true, Ordering::Relaxed);
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use larder_test_servers::TempDir;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

    use super::*;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
         SELECT count(*) FROM n, (SELECT count(*) AS c FROM t) WHERE i < 0";

    /// Whether a statement still reads what has been written over since it began.
    async fn is_read(writer: &SqlitePool) -> bool {
        sqlx::query("UPDATE t SET a = a + 1").execute(writer).await.unwrap();
        let (busy, _, _): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(writer).await.unwrap();
        busy != 0
    }

    #[tokio::test]
    async fn a_statement_ends_when_it_is_dropped() {
        let directory = TempDir::new("reader");
        let options = SqliteConnectOptions::new()
            .filename(directory.join("a.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_millis(10));
        let pool = |options| SqlitePoolOptions::new().max_connections(1).connect_with(options);
        let (writer, readers) = (pool(options.clone()).await.unwrap(), pool(options).await.unwrap());
        sqlx::raw_sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)").execute(&writer).await.unwrap();
        let reading = readers.clone();
        let reading = tokio::spawn(async move {
            Reader::acquire(&reading).await.unwrap().fetch_all(QueryBuilder::new(ENDLESS)).await
        });
        while !is_read(&writer).await {
            assert!(!reading.is_finished());
        }
        reading.abort();
        while is_read(&writer).await {}
        for _ in 0..2 {
            let rows = Reader::acquire(&readers).await.unwrap().fetch_all(QueryBuilder::new("SELECT a FROM t")).await;
            assert_eq!(rows.unwrap().len(), 1);
        }
    }
}
