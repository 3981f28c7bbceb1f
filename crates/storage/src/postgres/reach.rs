//! Telling a server that is away from a pool that is busy.

use std::time::Duration;

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Mutex, time::Instant};

/// How long a wait for a connection is left alone before the server is asked.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long an answer holds: callers that wait together ask once.
const VALID: Duration = Duration::from_millis(500);

/// The driver's pool goes on trying to reach a server that refuses connections until the caller's time is up. Whoever has copies
/// to serve instead wants to know at once.
#[derive(Debug)]
pub(super) struct Reach {
    options: PgConnectOptions,
    limit: Duration,
    /// When a server last answered.
    answered: Mutex<Option<Instant>>,
}

impl Reach {
    pub(super) fn new(options: PgConnectOptions, limit: Duration) -> Self {
        Self { options, limit, answered: Mutex::default() }
    }

    /// Waits for a connection of the pool, but not for one to a server that cannot be reached.
    pub(super) async fn or_away<T>(
        &self,
        acquire: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        tokio::select! {
            biased;
            result = acquire => result,
            error = self.away() => Err(error),
        }
    }

    /// Ends when the server cannot be reached.
    async fn away(&self) -> sqlx::Error {
        loop {
            tokio::time::sleep(PATIENCE).await;
            let mut answered = self.answered.lock().await;
            if answered.is_some_and(|answered| answered.elapsed() < VALID) {
                continue;
            }
            match tokio::time::timeout(self.limit, PgConnection::connect_with(&self.options)).await {
                Ok(Ok(connection)) => {
                    let _ = connection.close().await;
                    *answered = Some(Instant::now());
                }
                Ok(Err(error)) => {
                    return error;
                }
                Err(_) => return sqlx::Error::PoolTimedOut,
            }
        }
    }
}
