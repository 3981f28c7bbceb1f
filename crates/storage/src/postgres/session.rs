//! A connection on which nothing waits for ever.

use std::{fmt, io, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{servers::Servers, settings::Settings, trust::Trust};
use crate::{driver, trace};

/// How much longer than the server this side waits for a statement: the server's own word says more.
const GRACE: Duration = Duration::from_secs(1);
/// How long BEGIN may take, which waits for nothing in the server.
const BEGIN: Duration = Duration::from_secs(2);
/// How long a ping may take. To close a connection for nothing costs little.
const PING: Duration = Duration::from_secs(1);

/// A session of PostgreSQL, and the connection to it. Everything that runs on it has a limit on this side, whatever becomes of
/// the server and the network. A session in which something was begun and has not ended is [busy](Self::is_busy) for good: nobody
/// knows to what its next answer belongs, so it must be closed.
pub(super) struct Session {
    connection: PgConnection,
    limit: Duration,
    /// The limit of statements in the transaction that is open, if it needs longer ones.
    patience: Option<Duration>,
    trust: Arc<Trust>,
    state: State,
    /// The number of the server's process.
    pid: i32,
    made: Instant,
}

#[derive(Debug)]
struct State {
    busy: bool,
    committing: bool,
    in_transaction: bool,
    /// When the server last answered.
    answered: Instant,
}

impl Session {
    /// Connects, and makes sure that the session is as it must be.
    pub(super) async fn open(servers: &Servers, settings: &Settings, trust: Arc<Trust>) -> Result<Self, sqlx::Error> {
        let mut connection = servers.connect().await?;
        let pid = settings.apply(&mut connection).await?;
        let now = Instant::now();
        let state = State { busy: false, committing: false, in_transaction: false, answered: now };
        Ok(Self {
            connection,
            limit: settings.statement_timeout() + GRACE,
            patience: None,
            trust,
            state,
            pid,
            made: now,
        })
    }

    /// Whether something was begun that has not ended.
    pub(super) fn is_busy(&self) -> bool {
        self.state.busy
    }

    /// Whether what was begun last is a COMMIT.
    pub(super) fn is_committing(&self) -> bool {
        self.state.committing
    }

    /// Whether a transaction is open.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.state.in_transaction
    }

    /// The number of the server's process.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// When the connection was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }

    /// When the server last answered.
    pub(super) fn answered(&self) -> Instant {
        self.state.answered
    }

    /// Asks the server whether it is there, and still the same session.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.state.busy = true;
        let ping = sqlx::raw_sql("SELECT pg_catalog.pg_backend_pid()::text").fetch_one(&mut self.connection);
        let row = self.state.ended(timeout(PING, ping).await)?;
        let pid: &str = sqlx::Row::try_get(&row, 0)?;
        if pid.parse() == Ok(self.pid) { Ok(()) } else { Err(Settings::shared_session()) }
    }

    /// Begins a transaction. The rows that a traced write logs name its span.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.state.busy = true;
        let began = match trace::traceparent() {
            None => timeout(BEGIN, self.connection.execute("BEGIN")).await,
            Some(traceparent) => {
                // One round trip, like BEGIN alone.
                let sql = format!("BEGIN; SET LOCAL larder.traceparent = '{traceparent}'");
                timeout(BEGIN, sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut self.connection)).await
            }
        };
        self.state.ended(began)?;
        self.state.in_transaction = true;
        Ok(())
    }

    /// Gives the statements of the transaction that is open more time, in which the server is to have ended them.
    pub(super) fn take_time(&mut self, limit: Duration) {
        self.patience = Some(limit);
    }

    /// Commits the transaction. The server has no limit for that: it waits for a synchronous standby as long as it takes.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.patience = None;
        (self.state.busy, self.state.committing) = (true, true);
        let committed = timeout(self.limit, self.connection.execute("COMMIT")).await;
        self.state.ended(committed)?;
        self.state.in_transaction = false;
        Ok(())
    }

    /// Takes back what the transaction has done.
    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.patience = None;
        self.state.busy = true;
        let done = timeout(self.limit, self.connection.execute("ROLLBACK")).await;
        self.state.ended(done)?;
        self.state.in_transaction = false;
        Ok(())
    }
}

impl State {
    /// Takes in how a statement ended, if it did.
    fn ended<T, E>(&mut self, outcome: Result<Result<T, sqlx::Error>, E>) -> Result<T, sqlx::Error> {
        let outcome = outcome.unwrap_or_else(|_elapsed| Err(no_answer()));
        match &outcome {
            Ok(_) => self.idle(),
            Err(error @ sqlx::Error::Database(_)) if !driver::connection_lost(error) => self.idle(),
            Err(_) => {}
        }
        outcome
    }

    fn idle(&mut self) {
        (self.busy, self.committing) = (false, false);
        self.answered = Instant::now();
    }
}

/// What a limit of this side says.
fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"))
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.state.busy {
            self.trust.doubt(Instant::now());
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("pid", &self.pid).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Runs statements within the limit.
impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let limit = self.patience.unwrap_or(self.limit);
        let Session { connection, state, .. } = self;
        state.busy = true;
        let deadline = Instant::now() + limit;
        let steps = connection.fetch_many(query);
        Box::pin(stream::unfold(Some((steps, state)), move |rest| async move {
            let (mut steps, state) = rest?;
            match timeout_at(deadline, steps.next()).await {
                Ok(None) => {
                    state.idle();
                    None
                }
                Ok(Some(Ok(step))) => Some((Ok(step), Some((steps, state)))),
                Ok(Some(Err(error))) => Some((state.ended(Ok::<_, ()>(Err(error))), None)),
                Err(_elapsed) => Some((Err(no_answer()), None)),
            }
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let limit = self.patience.unwrap_or(self.limit);
        let Session { connection, state, .. } = self;
        state.busy = true;
        let statement = timeout(limit, connection.fetch_optional(query));
        Box::pin(async move { state.ended(statement.await) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let limit = self.patience.unwrap_or(self.limit);
        let Session { connection, state, .. } = self;
        state.busy = true;
        let statement = timeout(limit, connection.prepare_with(sql, parameters));
        Box::pin(async move { state.ended(statement.await) })
    }
}
