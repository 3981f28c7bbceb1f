//! A table that cannot be read for a while.

use std::{sync::Arc, time::Duration};

use larder_server::config::Config;
use larder_test_servers::Postgres;
use tokio::task::JoinHandle;

use super::{Database, eventually};

/// A lock on the products of a PostgreSQL database, held by a session of psql: whoever reads them waits.
pub(crate) struct TableLock {
    server: Arc<Postgres>,
    url: String,
    session: JoinHandle<String>,
}

/// Whoever waits for such a lock waits until it is let go, however long a busy machine takes for that.
pub(crate) fn patient(config: &mut Config) {
    config.cache.load_timeout = PATIENCE;
    config.storage.acquire_timeout = PATIENCE;
    config.storage.statement_timeout = PATIENCE;
}

/// The same as flags of the program.
pub(crate) const PATIENT: [&str; 4] = ["--load-timeout", "2m", "--database-statement-timeout", "2m"];

/// Longer than the session below lasts.
const PATIENCE: Duration = Duration::from_mins(2);

/// The session ends by itself after a while, so that a failed test leaves no process behind.
const SESSION: &str = "
    BEGIN;
    LOCK TABLE products IN ACCESS EXCLUSIVE MODE;
    DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM test_release) AND clock_timestamp() < now() + interval '1 minute' LOOP
            PERFORM pg_sleep(0.005);
        END LOOP;
    END $$;
    DROP TABLE test_release;
    COMMIT;";

impl TableLock {
    /// Takes the lock.
    pub(crate) async fn take(database: &Database) -> Self {
        let (server, url) = (Arc::clone(database.server()), database.url());
        server.psql(&url, "CREATE TABLE test_release (released boolean)").await;
        let holder = (Arc::clone(&server), url.clone());
        let session = tokio::spawn(async move { holder.0.psql(&holder.1, SESSION).await });
        let lock = Self { server, url, session };
        eventually("the lock", async || lock.count("granted AND mode = 'AccessExclusiveLock'").await == 1).await;
        lock
    }

    /// How many sessions of the database wait for it.
    pub(crate) async fn waiting(&self) -> usize {
        self.count("NOT granted").await
    }

    /// Lets them go on.
    pub(crate) async fn release(&self) {
        self.server.psql(&self.url, "INSERT INTO test_release VALUES (true)").await;
        eventually("the end of the lock", async || self.session.is_finished()).await;
    }

    async fn count(&self, condition: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_locks WHERE relation = 'products'::regclass AND {condition} \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        );
        self.server.psql(&self.url, &sql).await.parse().expect("a number")
    }
}
