//! Settings of the database, and of what is kept in it.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use larder_storage::{Repository, StorageError};

use super::super::{
    Invalid,
    setting::{Known, Scope, Secret, Setting},
    value,
};

pub(super) const DATABASE: &[Setting] = &[
    DATA_DIR,
    DATABASE_URL,
    Setting::new(
        "database-connections",
        "LARDER_DATABASE_CONNECTIONS",
        "10",
        "NUMBER",
        "Connections to the database at once. PostgreSQL: at least 2, of which writes can take two thirds, and two besides, for a moment three; all replicas together must stay below its max_connections. SQLite: at most 8 for reading, and two besides.",
        |config, text| {
            config.storage.max_connections = value::count(text, 1..=10_000)?;
            Ok(())
        },
    )
    .scope(Scope::Database),
    Setting::new(
        "database-acquire-timeout",
        "LARDER_DATABASE_ACQUIRE_TIMEOUT",
        "5s",
        "DURATION",
        "How long a statement waits for a free connection.",
        |config, text| {
            config.storage.acquire_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
    )
    .scope(Scope::Database),
    Setting::new(
        "database-statement-timeout",
        "LARDER_DATABASE_STATEMENT_TIMEOUT",
        "10s",
        "DURATION",
        "How long a statement may take.",
        |config, text| {
            config.storage.statement_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
    )
    .scope(Scope::Database),
    Setting::new(
        "database-idle-timeout",
        "LARDER_DATABASE_IDLE_TIMEOUT",
        "10m",
        "DURATION",
        "How long an idle connection to the database is kept.",
        |config, text| {
            config.storage.idle_timeout = value::duration_in(text, AGE)?;
            Ok(())
        },
    )
    .scope(Scope::Database),
    Setting::new(
        "database-max-lifetime",
        "LARDER_DATABASE_MAX_LIFETIME",
        "30m",
        "DURATION",
        "The age at which a connection to the database is replaced, so that failover and load balancing reach all of them.",
        |config, text| {
            config.storage.max_lifetime = value::duration_in(text, AGE)?;
            Ok(())
        },
    )
    .scope(Scope::Database),
    SAMPLE_CATALOGUE,
    Setting::new(
        "change-retention",
        "LARDER_CHANGE_RETENTION",
        "1h",
        "DURATION",
        "How long the change log is kept. No copy may live longer. (Request ids are remembered for a day.)",
        |config, text| {
            config.server.change_retention =
                value::duration_in(text, Duration::from_secs(1)..=Duration::from_hours(24 * 30))?;
            Ok(())
        },
    ),
];

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);

const DATA_DIR: Setting = Setting::new(
    "data-dir",
    "LARDER_DATA_DIR",
    "$XDG_DATA_HOME/larder or ~/.local/share/larder; macOS: ~/Library/Application Support/larder",
    "PATH",
    "Where Larder keeps the database file of the embedded default.",
    |config, text| {
        config.server.data_dir = Some(value::path(text)?);
        Ok(())
    },
)
.scope(Scope::Database)
.computed("/var/lib/larder", |known| {
    let path = known.machine.data_dir.as_ref();
    Ok(path.map(|path| path.join("larder").to_string_lossy().into_owned()))
});

const SAMPLE_CATALOGUE: Setting = Setting::new(
    "sample-catalogue",
    "LARDER_SAMPLE_CATALOGUE",
    "true with the default database, else false",
    "BOOLEAN",
    "Loads the sample catalogue when the database holds no product.",
    |config, text| {
        config.server.sample_catalogue = value::boolean(text)?;
        Ok(())
    },
)
.computed("false", |known| Ok(Some(known.own_database.to_string())));

const DATABASE_URL: Setting = Setting::new(
    "database-url",
    "DATABASE_URL",
    "larder.db, a SQLite file in data-dir",
    "URL",
    "The database: postgres://user:password@host:5432/name, postgres://user@/name?host=/run/postgresql for a Unix socket, or \
     sqlite:///path/of/larder.db.",
    |config, text| {
        config.storage.url = database_url(text)?;
        Ok(())
    },
)
.scope(Scope::Database)
.secret(Secret::Url)
.computed("postgres://larder:secret@127.0.0.1:5432/larder", |known| own_database(known).map(Some));

fn own_database(known: &Known<'_>) -> Result<String, Invalid> {
    match &known.config.server.data_dir {
        Some(dir) => Ok(sqlite_url(&dir.join("larder.db"))),
        None => Err(Invalid::new(
            "there is no home directory to keep a database in",
            "set LARDER_DATA_DIR to a directory, or DATABASE_URL to a database",
        )),
    }
}

/// The URL of a SQLite file. What a URL gives a meaning of its own is written as %XX.
fn sqlite_url(path: &Path) -> String {
    use std::fmt::Write as _;

    let mut url = "sqlite://".to_owned();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

fn database_url(text: &str) -> Result<String, Invalid> {
    const HINT: &str = "write postgres://user:password@host:5432/name or sqlite:///path/of/larder.db";
    let text = text.trim();
    match Repository::check_url(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(StorageError::Url(reason)) => Err(Invalid::new(reason, HINT)),
        Err(_) => Err(Invalid::new("not the URL of a database", HINT)),
    }
}
