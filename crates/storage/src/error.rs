//! What can go wrong below the repository.

/// Why a repository could not do what it was asked.
///
/// Its text is for logs: it may quote the driver and never reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database cannot be reached, refuses the connection, is starting up or shutting down, or is a standby.
    #[error("database unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database has no room for what was to be written. Nothing was written; reads go on.
    #[error("database full: {0}")]
    Full(#[source] BoxError),
    /// A statement, or the wait for a connection, took longer than allowed.
    #[error("database timed out: {0}")]
    Timeout(#[source] BoxError),
    /// Too many writes wait for a connection already. Nothing was written.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The commit was sent and its outcome is not known: the write may or may not have happened.
    #[error("outcome of the commit unknown: {0}")]
    UnknownOutcome(#[source] BoxError),
    /// The transaction lost against another one again and again.
    #[error("transaction conflict: {0}")]
    Conflict(#[source] BoxError),
    /// The database URL is wrong.
    #[error("invalid database url: {0}")]
    Url(String),
    /// The database holds something that this release cannot work with.
    #[error("{0}")]
    Schema(String),
    /// The row of the product of this id cannot be read: somebody wrote into it what the contract does not allow.
    #[error("the row of product {0} cannot be read")]
    Unreadable(String),
    /// What the first call with a request id returned cannot be read. The call was carried out.
    #[error("a remembered reply cannot be read: {0}")]
    UnreadableReply(String),
    /// Anything else the database said.
    #[error("database error: {0}")]
    Database(#[source] BoxError),
}

/// An error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
