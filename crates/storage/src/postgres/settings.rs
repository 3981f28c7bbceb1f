//! What every session is set to, and the test that it holds.

use std::{fmt, fmt::Write as _, time::Duration};

use sqlx::{Executor as _, PgConnection, Row as _};

use crate::StorageConfig;

/// What sessions are set to. By SET, which a pooler passes on; what stands in the startup message many of them drop in silence.
#[derive(Debug)]
pub(super) struct Settings {
    statement_timeout: Duration,
    set: String,
    check: String,
}

/// The session that a pooler gives is not one to work in. The text is for operators.
#[derive(Debug)]
struct Unsuitable(String);

impl std::error::Error for Unsuitable {}

impl fmt::Display for Unsuitable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Ends a statement soon after its connection was closed, as when nobody waits for it any more: otherwise the server would notice only
/// when it has rows to send. Servers on some systems refuse the setting, and do without.
const NOTICE_CLOSED: &str = "DO $$BEGIN PERFORM pg_catalog.set_config('client_connection_check_interval', '100ms', false); \
     EXCEPTION WHEN invalid_parameter_value THEN END$$; ";

const REMEDY: &str = "a connection pooler in front of PostgreSQL must give each connection a session of its own: set pool_mode \
     = session in PgBouncer (in others the mode of that name), or connect to PostgreSQL itself";

impl Settings {
    pub(super) fn new(config: &StorageConfig) -> Self {
        let limit = format!("{}ms", config.statement_timeout.as_millis().max(1));
        let settings = [
            ("statement_timeout", limit.as_str()),
            // A transaction of ours waits for nothing but its own next statement.
            ("idle_in_transaction_session_timeout", &limit),
            // An acknowledged write is on disk, whatever the server's default says.
            ("synchronous_commit", "on"),
            // No statement runs long enough to earn back its compilation, whatever the planner estimates.
            ("jit", "off"),
            // The statements count on this level: a repeated look must see what was committed meanwhile.
            ("default_transaction_isolation", "read committed"),
            // A notification inside the transaction would take a lock of the whole cluster for the length of its commit. One
            // for many commits follows them.
            ("larder.notify", "off"),
        ];
        let (mut set, mut rows) = (NOTICE_CLOSED.to_owned(), String::new());
        for (name, value) in settings {
            let _ = write!(set, "SET {name} = '{value}'; ");
            let comma = if rows.is_empty() { "" } else { ", " };
            // The server writes a time in the unit that suits it.
            let cast = if value.ends_with("ms") { "::pg_catalog.interval" } else { "" };
            let _ =
                write!(rows, "{comma}('{name}', pg_catalog.current_setting('{name}', true){cast} = '{value}'{cast})");
        }
        let check = format!(
            "SELECT pg_catalog.pg_backend_pid()::text, coalesce((SELECT pg_catalog.string_agg(s.name, ', ') \
             FROM (VALUES {rows}) AS s(name, holds) WHERE s.holds IS NOT TRUE), '')"
        );
        Self { statement_timeout: config.statement_timeout, set, check }
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Sets a session and reads back what it is set to. Returns the number of the server's process.
    pub(super) async fn apply(&self, connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(self.set.as_str()))).await?;
        let row = sqlx::raw_sql(sqlx::AssertSqlSafe(self.check.as_str())).fetch_one(connection).await?;
        let (pid, lost): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        if !lost.is_empty() {
            return Err(unsuitable(format!("the session does not keep what it was set to ({lost}): {REMEDY}")));
        }
        pid.parse().map_err(|_| sqlx::Error::Protocol(format!("a process number that is none: {pid}")))
    }

    /// Two connections that got the same session, or one that got another than before.
    pub(super) fn shared_session() -> sqlx::Error {
        unsuitable(format!("statements of one connection run in sessions of others: {REMEDY}"))
    }
}

fn unsuitable(reason: String) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(Unsuitable(reason)))
}

/// Whether a session was refused for what a pooler made of it.
pub(crate) fn is_unsuitable(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<Unsuitable>()
}

/// Makes sure that two connections have a session each, in which all their statements run. A pooler that gives out sessions by the
/// transaction or statement gives both the same one, or one of them different ones: in this order, whichever way it chooses.
pub(super) async fn check_sessions(one: &mut PgConnection, other: &mut PgConnection) -> Result<(), sqlx::Error> {
    async fn pid(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
        sqlx::raw_sql("SELECT pg_catalog.pg_backend_pid()::text").fetch_one(connection).await?.try_get(0)
    }
    let (first, second) = (pid(one).await?, pid(other).await?);
    for _ in 0..4 {
        let seen = [pid(one).await?, pid(one).await?, pid(other).await?, pid(one).await?, pid(other).await?];
        if first == second || seen != [&first, &first, &second, &first, &second].map(String::clone) {
            return Err(Settings::shared_session());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use larder_test_servers::Postgres;
    use sqlx::Connection as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_session_that_is_not_what_it_was_set_to_is_refused() {
        let url = Postgres::shared().await.create_database().await;
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let settings = Settings::new(&StorageConfig::new(url));
        settings.apply(&mut connection).await.unwrap();
        // As where a pooler has led the statements to sessions of others.
        for (set, lost) in [("RESET ALL", "statement_timeout"), ("SET larder.notify = 'on'", "larder.notify")] {
            let set = format!("{}; {set}", settings.set.trim_end_matches("; "));
            let settings = Settings { set, check: settings.check.clone(), ..settings };
            let error = settings.apply(&mut connection).await.unwrap_err();
            let sqlx::Error::Configuration(reason) = error else { panic!("{error:?}") };
            assert!(is_unsuitable(&*reason) && reason.to_string().contains(lost), "{reason}");
        }
    }
}
