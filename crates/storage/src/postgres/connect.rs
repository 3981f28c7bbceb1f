//! Connections and migrations.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, Row,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgRow},
};

use super::{
    PostgresRepository,
    listen::{Listener, News},
    pool::Connections,
    servers::{Choice, Servers},
    settings::{Settings, check_sessions},
    url,
};
use crate::{Backend, StorageConfig, StorageError, driver, horizon::Horizons, migrations};

/// A migration waits for one that another replica is running.
const MIGRATION_LIMIT: Duration = Duration::from_mins(10);
/// What the server is. Not prepared: a pooler that gives out sessions by the transaction loses what is.
const ABOUT: &str = "SELECT pg_catalog.current_setting('server_version'), \
     pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_encoding'), \
     pg_catalog.pg_is_in_recovery()::text";

pub(super) async fn connect(config: &StorageConfig) -> Result<PostgresRepository, StorageError> {
    let servers = servers(config)?;
    let version = prepare(&servers, config).await?;
    let news = Arc::new(News::default());
    let connections = Connections::open(servers.clone(), config, Arc::clone(&news)).await.map_err(driver::sort)?;
    Ok(PostgresRepository {
        connections: Arc::new(connections),
        listener: Listener::start(servers, config.acquire_timeout, news),
        horizons: Horizons::default(),
        disowning: Arc::default(),
        backend: Backend { name: "PostgreSQL", version },
    })
}

/// Parses a URL into what the driver needs for each of its servers.
pub(super) fn parse(url: &str) -> Result<(Vec<PgConnectOptions>, Choice), StorageError> {
    let (urls, choice) = url::of_each_server(url)?;
    Ok((urls.iter().map(|url| parse_one(url)).collect::<Result<_, _>>()?, choice))
}

fn parse_one(url: &str) -> Result<PgConnectOptions, StorageError> {
    // The driver logs parameters that it does not know with their values, and quotes values that it cannot read.
    let quiet = tracing::subscriber::NoSubscriber::default();
    let parsed = tracing::subscriber::with_default(quiet, || PgConnectOptions::from_str(&url::without_host(url)));
    parsed.map_err(|error| match error {
        sqlx::Error::Configuration(reason) => StorageError::Url(url::reason(&reason.to_string()).to_owned()),
        error => driver::sort(error),
    })
}

/// What the driver sends when it connects. Poolers refuse what they do not know, so it is as little as possible.
fn servers(config: &StorageConfig) -> Result<Servers, StorageError> {
    if url::has_unknown_parameters(&config.url) {
        tracing::warn!("the database URL has parameters that are not known and have no effect");
    }
    let (options, choice) = parse(&config.url)?;
    let options =
        options.into_iter().map(|one| one.application_name(&config.application_name).extra_float_digits(None));
    Ok(Servers::new(options.collect(), choice, config.acquire_timeout))
}

/// Checks the server and migrates, on a connection of its own, so that nothing of it (timeout, advisory lock) outlives it.
async fn prepare(servers: &Servers, config: &StorageConfig) -> Result<String, StorageError> {
    let limit = config.acquire_timeout;
    let mut connection = within(limit, servers.connect()).await?;
    let about = within(limit, sqlx::raw_sql(ABOUT).fetch_one(&mut connection)).await?;
    let version = check_server(&about)?;
    within(limit, async {
        Settings::new(config).apply(&mut connection).await?;
        let mut other = servers.connect().await?;
        check_sessions(&mut connection, &mut other).await?;
        other.close().await
    })
    .await?;
    sqlx::query("SELECT pg_catalog.set_config('statement_timeout', $1, false)")
        .bind(MIGRATION_LIMIT.as_millis().to_string())
        .execute(&mut connection)
        .await
        .map_err(driver::sort)?;
    let migrating = async { migrator().run_direct(None, &mut connection, false).await.map_err(sqlx::Error::from) };
    // The server has no limit for a commit.
    within(MIGRATION_LIMIT * 2, migrating).await?;
    within(limit, connection.close()).await?;
    Ok(version)
}

/// Waits no longer than that.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StorageError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(driver::sort),
        Err(elapsed) => Err(StorageError::Timeout(elapsed.into())),
    }
}

/// Returns the version of a server that can be worked with.
fn check_server(about: &PgRow) -> Result<String, StorageError> {
    let column = |column| about.try_get::<&str, usize>(column).map_err(driver::sort);
    let (version, encoding) = (column(0)?, column(2)?);
    if column(1)?.parse().unwrap_or(0) < 150_000 {
        return Err(StorageError::Schema(format!("PostgreSQL 15 or later is needed, this is {version}")));
    }
    if encoding != "UTF8" {
        return Err(StorageError::Schema(format!("the database must be in UTF8, this one is in {encoding}")));
    }
    if column(3)? == "true" {
        return Err(StorageError::Unavailable("the server is a standby".into()));
    }
    Ok(version.to_owned())
}

/// The migrations, in order.
fn migrator() -> Migrator {
    let files = [
        (1, "catalogue", include_str!("../../migrations/postgres/0001_catalogue.sql")),
        (2, "search", include_str!("../../migrations/postgres/0002_search.sql")),
        (3, "lives", include_str!("../../migrations/postgres/0003_lives.sql")),
        (4, "whole log", include_str!("../../migrations/postgres/0004_whole_log.sql")),
        (5, "traces", include_str!("../../migrations/postgres/0005_traces.sql")),
    ];
    migrations::migrator(&files, "public.larder_migrations")
}
