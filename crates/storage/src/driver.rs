//! What the driver's errors mean.

use std::{borrow::Cow, io::ErrorKind};

use sqlx::postgres::PgDatabaseError;

use crate::{StorageError, postgres::is_unsuitable};

/// Sorts an error of the driver.
pub(crate) fn sort(error: sqlx::Error) -> StorageError {
    use sqlx::Error;
    match &error {
        Error::PoolTimedOut => StorageError::Timeout(error.into()),
        Error::Io(reason) if reason.kind() == ErrorKind::TimedOut => StorageError::Timeout(error.into()),
        Error::Configuration(reason) if is_unsuitable(&**reason) => StorageError::Schema(reason.to_string()),
        Error::PoolClosed | Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed | Error::Protocol(_) => {
            StorageError::Unavailable(error.into())
        }
        Error::Configuration(reason) => StorageError::Url(reason.to_string()),
        Error::Migrate(reason) => StorageError::Schema(reason.to_string()),
        Error::Database(reported) => {
            let code = reported.code().unwrap_or(Cow::Borrowed("")).into_owned();
            if reported.try_downcast_ref::<PgDatabaseError>().is_some() {
                sort_postgres(&code, error)
            } else {
                sort_sqlite(code.parse().unwrap_or(0), error)
            }
        }
        _ => StorageError::Database(error.into()),
    }
}

/// Whether the connection broke under a statement, or was already broken: a statement that only reads may be tried on another.
pub(crate) fn connection_lost(error: &sqlx::Error) -> bool {
    match error {
        // One that did not answer in time has taken the time of a second try.
        sqlx::Error::Io(reason) => reason.kind() != ErrorKind::TimedOut,
        sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(reported) => {
            reported.code().is_some_and(|code| matches!(&*code, "57P01" | "57P02" | "57P05"))
        }
        _ => false,
    }
}

/// Whether there is no use in a connection, though there may be in another: it is lost, or did not answer when it was asked for
/// something that takes no time.
pub(crate) fn no_connection(error: &sqlx::Error) -> bool {
    connection_lost(error) || matches!(error, sqlx::Error::Io(_))
}

/// Sorts an error of a COMMIT in PostgreSQL. An error that the server reports means that the transaction was rolled back, unless it was
/// ending the connection: then, and when no answer came, the transaction may have been committed.
pub(crate) fn sort_commit(error: sqlx::Error) -> StorageError {
    let told = match &error {
        sqlx::Error::Database(reported) => {
            reported.code().is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08"))
        }
        _ => false,
    };
    if told { sort(error) } else { StorageError::UnknownOutcome(error.into()) }
}

/// Sorts an error of a COMMIT in SQLite. A COMMIT that was busy, broke a constraint, or found no room or no permission for its pages
/// was refused: SQLite counts a transaction only when its last page is in the log whole. After any other error, such as one of
/// `fsync`, it is not known what has reached the disk.
pub(crate) fn sort_sqlite_commit(error: sqlx::Error) -> StorageError {
    let refused = match &error {
        sqlx::Error::Database(reported) => reported
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            .is_some_and(|code| code == IOERR_WRITE || matches!(code & 0xff, 5 | 6 | 8 | 13 | 19)),
        _ => false,
    };
    if refused { sort(error) } else { StorageError::UnknownOutcome(error.into()) }
}

/// A page could not be written, as over a quota: SQLite names a full disk alone by a code of its own.
const IOERR_WRITE: u32 = 778;

/// Whether PostgreSQL refused a statement because it is a standby: unlogged tables cannot be read there.
pub(crate) fn on_standby(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(reported)
        if reported.code().is_some_and(|code| code == "0A000") && reported.message().contains("during recovery"))
}

fn sort_postgres(code: &str, error: sqlx::Error) -> StorageError {
    match code {
        // query_canceled by statement_timeout, lock_not_available, the idle timeouts
        "57014" | "55P03" | "25P03" | "25P04" => StorageError::Timeout(error.into()),
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => StorageError::Conflict(error.into()),
        // disk_full
        "53100" => StorageError::Full(error.into()),
        // read_only_sql_transaction: a standby; invalid_catalog_name: no such database (yet)
        "25006" | "3D000" => StorageError::Unavailable(error.into()),
        // connection exceptions, refused credentials, insufficient resources, shutdown and start-up
        _ if ["08", "28", "53", "57P"].iter().any(|class| code.starts_with(class)) => {
            StorageError::Unavailable(error.into())
        }
        _ => StorageError::Database(error.into()),
    }
}

fn sort_sqlite(extended: u32, error: sqlx::Error) -> StorageError {
    /// The snapshot that a transaction began with is no longer the newest.
    const BUSY_SNAPSHOT: u32 = 517;
    match (extended, extended & 0xff) {
        (BUSY_SNAPSHOT, _) => StorageError::Conflict(error.into()),
        // BUSY, LOCKED, INTERRUPT
        (_, 5 | 6 | 9) => StorageError::Timeout(error.into()),
        // FULL
        (_, 13) => StorageError::Full(error.into()),
        // READONLY, IOERR, CANTOPEN, PROTOCOL
        (_, 8 | 10 | 14 | 15) => StorageError::Unavailable(error.into()),
        // CORRUPT, NOTADB
        (_, 11 | 26) => StorageError::Schema(format!("the SQLite file cannot be read: {error}")),
        _ => StorageError::Database(error.into()),
    }
}
