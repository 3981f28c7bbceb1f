//! Settings of the database, and of what is kept in it.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use larder_storage::{Repository, StorageError};

use super::super::{
    Invalid, SampleCatalogue,
    setting::{Default, Known, Scope, Secret, Setting},
    value,
};

/// Bounds of the time that a statement may take.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);

pub(super) const DATABASE: &[Setting] = &[
    Setting {
        key: "data-dir",
        env: "LARDER_DATA_DIR",
        default: Default::Computed {
            words: "$XDG_DATA_HOME/larder or ~/.local/share/larder; macOS: ~/Library/Application Support/larder",
            example: "/var/lib/larder",
            compute: |known| {
                let path = known.machine.data_dir.as_ref();
                Ok(path.map(|path| path.join("larder").to_string_lossy().into_owned()))
            },
        },
        shape: "PATH",
        help: "The directory in which Larder keeps the file of the default database.",
        scope: Scope::Database,
        set: |config, text| {
            config.server.data_dir = Some(value::path(text)?);
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "database-url",
        env: "DATABASE_URL",
        default: Default::Computed {
            words: "larder.db, a SQLite file in data-dir",
            example: "postgres://larder:secret@127.0.0.1:5432/larder",
            compute: |known| own_database(known).map(Some),
        },
        shape: "URL",
        help: "The database: postgres://user:password@host:5432/name, postgres://user@/name?host=/run/postgresql for a Unix \
               socket, or sqlite:///path/of/larder.db. Of several hosts separated by commas, the first that takes writes.",
        secret: Secret::Url,
        scope: Scope::Database,
        set: |config, text| {
            config.storage.url = database_url(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "database-connections",
        env: "LARDER_DATABASE_CONNECTIONS",
        default: Default::Text("10"),
        shape: "NUMBER",
        help: "Connections to the database for statements. PostgreSQL gets at least 2, of which writes may take two thirds, and 2 \
               further ones, for a moment 3; the connections of all replicas together must stay below its max_connections. \
               SQLite uses at most 8 for reading, and 2 further ones.",
        scope: Scope::Database,
        set: |config, text| {
            config.storage.max_connections = value::count(text, 1..=10_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "database-statement-timeout",
        env: "LARDER_DATABASE_STATEMENT_TIMEOUT",
        default: Default::Text("10s"),
        shape: "DURATION",
        help: "How long a statement may take.",
        scope: Scope::Database,
        set: |config, text| {
            config.storage.statement_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "sample-catalogue",
        env: "LARDER_SAMPLE_CATALOGUE",
        default: Default::Computed {
            words: "true with the default database, else false",
            example: "false",
            compute: |known| Ok(Some(known.own_database.to_string())),
        },
        shape: "CATALOGUE",
        help: "Loads a catalogue when the database holds no product: true loads the sample in the program, a path a file of products in \
               JSON, as larder import reads it.",
        set: |config, text| {
            config.server.sample_catalogue = catalogue(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "change-retention",
        env: "LARDER_CHANGE_RETENTION",
        default: Default::Text("1h"),
        shape: "DURATION",
        help: "How long the change log keeps a change. No copy may live longer. Request ids are always remembered for a day.",
        set: |config, text| {
            config.server.change_retention =
                value::duration_in(text, Duration::from_secs(1)..=Duration::from_hours(24 * 30))?;
            Ok(())
        },
        ..Setting::BASE
    },
];

/// A path is told from a misspelt `true` by its slash or its extension.
fn catalogue(text: &str) -> Result<SampleCatalogue, Invalid> {
    match value::boolean(text) {
        Ok(true) => Ok(SampleCatalogue::BuiltIn),
        Ok(false) => Ok(SampleCatalogue::None),
        Err(_) if text.contains(['/', '.']) => value::path(text).map(SampleCatalogue::File),
        Err(_) => Err(Invalid::new(
            "neither true nor false nor a path",
            "write true, false, or the path of a file such as ./products.json",
        )),
    }
}

fn own_database(known: &Known<'_>) -> Result<String, Invalid> {
    match &known.config.server.data_dir {
        Some(dir) => Ok(sqlite_url(&dir.join("larder.db"))),
        None => Err(Invalid::new(
            "there is no home directory to keep a database in",
            "set LARDER_DATA_DIR to a directory, or DATABASE_URL to a database",
        )),
    }
}

/// The URL of a SQLite file. Characters with a meaning in URLs are written as %XX.
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
