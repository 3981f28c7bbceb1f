//! Connections and migrations.

use std::{borrow::Cow, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{PostgresRepository, listen::Listener, reach::Reach, url};
use crate::{Backend, StorageConfig, StorageError, driver, horizon::Horizons};

/// A migration waits for one that another replica is running.
const MIGRATION_LIMIT: Duration = Duration::from_mins(10);

pub(super) async fn connect(config: &StorageConfig) -> Result<PostgresRepository, StorageError> {
    let options = options(config)?;
    let version = prepare(&options, config).await?;
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections.max(1))
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(config.idle_timeout)
        .max_lifetime(config.max_lifetime)
        // A dead connection shows at the first statement, which is then tried on another one; asking before every
        // statement would cost each of them a round trip.
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await
        .map_err(driver::sort)?;
    Ok(PostgresRepository {
        pool,
        listener: Listener::start(options.clone(), config.acquire_timeout),
        reach: Reach::new(options, config.acquire_timeout),
        horizons: Horizons::default(),
        disowning: Arc::default(),
        backend: Backend { name: "PostgreSQL", version },
    })
}

/// Parses a URL into what the driver needs.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StorageError> {
    PgConnectOptions::from_str(&url::without_host(url)).map_err(driver::sort)
}

fn options(config: &StorageConfig) -> Result<PgConnectOptions, StorageError> {
    let milliseconds = |limit: Duration| limit.as_millis().max(1).to_string();
    Ok(parse(&config.url)?.application_name(&config.application_name).options([
        ("statement_timeout", milliseconds(config.statement_timeout)),
        // A transaction of ours waits for nothing but its own next statement.
        ("idle_in_transaction_session_timeout", milliseconds(config.statement_timeout)),
        // An acknowledged write is on disk, whatever the server's default says.
        ("synchronous_commit", "on".to_owned()),
        // No statement runs long enough to earn back its compilation, whatever the planner estimates.
        ("jit", "off".to_owned()),
        // The statements count on this level: a repeated look must see what was committed meanwhile.
        ("default_transaction_isolation", "read committed".to_owned()),
    ]))
}

/// Checks the server and migrates, on a connection of its own, so that nothing of it (timeout, advisory lock) outlives it.
async fn prepare(options: &PgConnectOptions, config: &StorageConfig) -> Result<String, StorageError> {
    let connecting = PgConnection::connect_with(options);
    let mut connection = match tokio::time::timeout(config.acquire_timeout, connecting).await {
        Ok(connected) => connected.map_err(driver::sort)?,
        Err(elapsed) => return Err(StorageError::Timeout(elapsed.into())),
    };
    let (version, number, encoding, standby): (String, i32, String, bool) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
         current_setting('server_encoding'), pg_is_in_recovery()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(driver::sort)?;
    if number < 150_000 {
        return Err(StorageError::Schema(format!("PostgreSQL 15 or later is needed, this is {version}")));
    }
    if encoding != "UTF8" {
        return Err(StorageError::Schema(format!("the database must be in UTF8, this one is in {encoding}")));
    }
    if standby {
        return Err(StorageError::Unavailable("the server is a standby".into()));
    }
    sqlx::query("SELECT set_config('statement_timeout', $1, false)")
        .bind(MIGRATION_LIMIT.as_millis().to_string())
        .execute(&mut connection)
        .await
        .map_err(driver::sort)?;
    migrator().run_direct(None, &mut connection, false).await.map_err(|error| driver::sort(error.into()))?;
    connection.close().await.map_err(driver::sort)?;
    Ok(version)
}

/// The migrations, in order. Those that only a later release knows are none of this one's business.
fn migrator() -> Migrator {
    let files = [
        (1, "catalogue", include_str!("../../migrations/postgres/0001_catalogue.sql")),
        (3, "lives", include_str!("../../migrations/postgres/0003_lives.sql")),
    ];
    Migrator {
        migrations: files
            .into_iter()
            .map(|(version, name, sql)| {
                Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect(),
        ignore_missing: true,
        table_name: Cow::Borrowed("public.larder_migrations"),
        ..Migrator::DEFAULT
    }
}
