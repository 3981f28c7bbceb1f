//! Errors of loads and reads.

use std::sync::Arc;

/// Why a load failed. Every waiter of the load receives the same error; errors are never cached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The tier below is unavailable. The text is for logs.
    #[error("unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The load exceeded its timeout.
    #[error("timed out")]
    Timeout,
    /// Too many loads are waiting already.
    #[error("too many loads are waiting")]
    Overloaded,
    /// The load ended without an outcome: it panicked, or the process is shutting down.
    #[error("the load was lost")]
    Lost,
    /// Any other failure. The text is for logs.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Why a read cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The load failed, and no copy may be served instead.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The reader accepts only copies, and there is none.
    #[error("not cached")]
    NotCached,
    /// The token belongs to another incarnation of the database.
    #[error("the token belongs to another incarnation of the database")]
    OtherIncarnation,
    /// The token names a commit that the database does not have.
    #[error("the token names a commit that the database does not have")]
    UnknownCommit,
    /// The token belongs to an earlier incarnation, and the change log no longer reaches that far back.
    #[error("the change log no longer tells whether this database has the commit that the token names")]
    ForgottenCommit,
    /// The change log could not be read, or the database that answered is not the one that is followed.
    #[error("the change log cannot be read")]
    NoPass,
}
