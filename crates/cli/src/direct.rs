//! Commands that open the database themselves.

use larder_storage::{Repository, StorageError};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{CliError, error::Exit, settings::SettingArgs};
use larder_server::{
    config::{LogConfig, LogFormat, Purpose},
    telemetry,
};

/// Opens the database that the settings name.
pub(super) async fn open<T>(settings: &SettingArgs<T>) -> Result<Repository, CliError> {
    telemetry::init(&LogConfig { filter: Targets::new().with_default(LevelFilter::WARN), format: LogFormat::Human });
    let storage = settings.resolve(Purpose::Direct)?.config.storage;
    Repository::connect(&storage).await.map_err(|error| failure("cannot open the database", &error))
}

/// The failure for an error of the database.
pub(super) fn failure(doing: &str, error: &StorageError) -> CliError {
    let (exit, hint) = kind(error);
    let failed = CliError::new(exit, format!("{doing}: {error}"));
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// The exit code and the hint for an error of the database.
pub(super) fn kind(error: &StorageError) -> (Exit, Option<&'static str>) {
    match error {
        StorageError::Unavailable(_) | StorageError::Timeout(_) => {
            (Exit::Unavailable, Some("is the database running, and is DATABASE_URL right? see `larder config`"))
        }
        StorageError::Full(_) => (Exit::Unavailable, Some("make room where the database is, and try again")),
        StorageError::UnknownOutcome(_) | StorageError::Conflict(_) | StorageError::Overloaded => {
            (Exit::Unavailable, Some("try again"))
        }
        StorageError::Url(_) => (Exit::Config, Some("see --database-url in `larder serve --help`")),
        StorageError::Schema(_) => (Exit::Config, None),
        StorageError::Unreadable(_) | StorageError::UnreadableReply(_) => (Exit::Data, None),
        StorageError::Database(_) => (Exit::Internal, None),
    }
}
