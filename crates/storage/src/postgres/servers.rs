//! The servers that a URL names, of which one takes writes.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::time::timeout;

/// Whether the server takes writes. Not prepared: a pooler that gives out sessions by the transaction loses what is.
const IS_PRIMARY: &str = "SELECT (NOT pg_catalog.pg_is_in_recovery() \
     AND pg_catalog.current_setting('transaction_read_only') = 'off')::text";

/// The servers of a database, in the order of the URL. Clones share what they learn.
#[derive(Clone)]
pub(super) struct Servers {
    options: Arc<[PgConnectOptions]>,
    choice: Choice,
    /// The server that took the last connection.
    primary: Arc<AtomicUsize>,
    /// How long one of several servers may take to answer, so that one that is gone leaves time for the others.
    patience: Duration,
}

/// Which server takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The only one.
    Only,
    /// The first that takes writes.
    Primary,
}

impl Servers {
    /// Servers that were not tried yet, of which all together may take `limit`. There must be one.
    pub(super) fn new(options: Vec<PgConnectOptions>, choice: Choice, limit: Duration) -> Self {
        let patience = limit / u32::try_from(options.len().max(1)).unwrap_or(u32::MAX);
        Self { options: options.into(), choice, primary: Arc::default(), patience }
    }

    /// Connects to a server. Where there is a choice, the one that took the last connection is tried first, then the others in
    /// their order. The error is that of the last one.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        // Large, and rare: whoever waits for a statement would carry it along.
        Box::pin(self.connect_to_one()).await
    }

    async fn connect_to_one(&self) -> Result<PgConnection, sqlx::Error> {
        if self.choice == Choice::Only {
            return self.last().connect().await;
        }
        let (first, count) = (self.primary.load(Ordering::Relaxed), self.options.len());
        let mut failure = unfit("no server");
        for number in (0..count).map(|step| (first + step) % count) {
            let tried = timeout(self.patience, connect_to_primary(&self.options[number])).await;
            match tried.unwrap_or_else(|_elapsed| Err(unfit("the server does not answer"))) {
                Ok(connection) => {
                    if self.primary.swap(number, Ordering::Relaxed) != number {
                        tracing::info!(server = number + 1, of = count, "connected to another PostgreSQL server");
                    }
                    return Ok(connection);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The server that took the last connection.
    pub(super) fn last(&self) -> &PgConnectOptions {
        &self.options[self.primary.load(Ordering::Relaxed)]
    }
}

async fn connect_to_primary(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    let row = sqlx::raw_sql(IS_PRIMARY).fetch_one(&mut connection).await?;
    if row.try_get::<&str, _>(0)? == "true" { Ok(connection) } else { Err(unfit("the server is a standby")) }
}

fn unfit(why: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, why))
}

impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Servers").field("count", &self.options.len()).finish_non_exhaustive()
    }
}
