//! Why a read found nothing to return.

use std::sync::Arc;

/// Why a load failed. It is shared by everybody who waited for the load and never cached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The tier below is away. The text is for logs.
    #[error("unavailable: {0}")]
    Unavailable(Arc<str>),
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// Too many loads are waiting.
    #[error("too many loads are waiting")]
    Overloaded,
    /// The load ended without an outcome, by a defect or because the process shuts down.
    #[error("the load was lost")]
    Lost,
    /// Anything else. The text is for logs.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Why a read cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The load failed and there is no copy that may be served instead.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Only copies were asked for and there is none.
    #[error("not cached")]
    NotCached,
    /// The token is of another life of the database.
    #[error("the token belongs to another incarnation of the database")]
    OtherIncarnation,
    /// The token names a commit that the database does not have.
    #[error("the token names a commit that the database does not have")]
    UnknownCommit,
    /// The token is of an earlier life of the database, and the change log no longer tells what is that old.
    #[error("the change log no longer tells whether this database has the commit that the token names")]
    ForgottenCommit,
    /// What the change log holds now could not be found out, or the database that answered is not the one it belongs to.
    #[error("the change log cannot be read")]
    NoPass,
}
