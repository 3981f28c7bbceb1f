//! The one place where errors become gRPC statuses.

use std::time::Duration;

use larder_cache::{LoadError, ReadError};
use larder_storage::StorageError;
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::{brief, names::DOMAIN};
use crate::{catalog::WatchError, contract::Violations};

/// The type of a product in `google.rpc.ResourceInfo`.
const PRODUCT: &str = "larder.catalog.v1.Product";
/// When to try again what failed because something is away or too busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status with its reason.
pub(super) fn status(code: Code, reason: &str, message: &str) -> Status {
    brief::status(code, message, ErrorDetails::with_error_info(reason, DOMAIN, []))
}

/// A request that breaks rules.
pub(super) fn invalid(violations: &Violations) -> Status {
    brief::invalid("INVALID_REQUEST", violations)
}

/// A product that does not exist.
pub(super) fn missing(id: &str) -> Status {
    about_product(Code::NotFound, "PRODUCT_NOT_FOUND", id, "there is no product of this id")
}

/// A product whose row cannot be read.
pub(super) fn unreadable(id: &str) -> Status {
    let text = "the row of this product holds what cannot be read; set it right in the database, replace the product or delete it";
    about_product(Code::DataLoss, "PRODUCT_UNREADABLE", id, text)
}

/// A product that exists already.
pub(super) fn exists(id: &str) -> Status {
    about_product(Code::AlreadyExists, "PRODUCT_EXISTS", id, "there is a product of this id already")
}

/// A product that has changed.
pub(super) fn changed(id: &str) -> Status {
    let text = "the product has changed since this etag was read; read it again and decide anew";
    about_product(Code::Aborted, "ETAG_MISMATCH", id, text)
}

fn about_product(code: Code, reason: &str, id: &str, text: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, [("id".to_owned(), id.to_owned())]);
    details.set_resource_info(PRODUCT, id, "", text);
    brief::status(code, &format!("{text}: {id}"), details)
}

/// A read that found nothing to return.
pub(super) fn read(error: &ReadError) -> Status {
    match error {
        ReadError::Load(error) => load(error),
        ReadError::NotCached => status(Code::NotFound, "NOT_CACHED", "no tier of the cache has it"),
        ReadError::OtherIncarnation => {
            let rule =
                "belongs to a database that was lost or replaced; read without it, or take a token of a new write";
            invalid_token("TOKEN_LOST", rule)
        }
        ReadError::ForgottenCommit => {
            let rule = "is of an earlier life of the database, and too old to tell whether this one has its commit; \
                        read without it, or take a token of a new write";
            invalid_token("TOKEN_FORGOTTEN", rule)
        }
        ReadError::UnknownCommit => invalid_token("TOKEN_UNKNOWN", "names a commit that the database does not have"),
        ReadError::NoPass => unavailable("the database cannot be asked what has changed"),
    }
}

fn invalid_token(reason: &str, rule: &str) -> Status {
    brief::invalid(reason, &Violations::one("read.at_least_as_fresh", rule))
}

fn load(error: &LoadError) -> Status {
    match error {
        LoadError::Unavailable(cause) => {
            tracing::warn!(%cause, "database away");
            unavailable("the database is away and no copy may be served")
        }
        LoadError::Timeout => {
            tracing::warn!("database too slow");
            unavailable("the database took too long and no copy may be served")
        }
        LoadError::Overloaded => overloaded(),
        LoadError::Lost => internal("load lost"),
        LoadError::Failed(cause) => internal(cause),
    }
}

/// A row that cannot be looked at.
pub(super) fn storage(error: &StorageError) -> Status {
    match error {
        StorageError::Unavailable(_) | StorageError::Timeout(_) => {
            tracing::warn!(%error, "database away");
            unavailable("the database is away or took too long")
        }
        error => internal(error),
    }
}

/// Makes a status of what failed. A call has a span for its log lines from when it first has to wait: what fails at once has to.
pub(super) async fn told<T, E>(outcome: Result<T, E>, status: impl FnOnce(&E) -> Status) -> Result<T, Status> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => {
            tokio::task::yield_now().await;
            Err(status(&error))
        }
    }
}

/// A write that did not happen, or of which that is not known.
pub(super) fn write(error: &StorageError) -> Status {
    match error {
        StorageError::Unavailable(_) => {
            tracing::warn!(%error, "write failed");
            unavailable("the database is away; nothing was written")
        }
        StorageError::Timeout(_) => {
            tracing::warn!(%error, "write failed");
            unavailable("the database took too long; nothing was written")
        }
        StorageError::Conflict(_) => {
            tracing::warn!(%error, "write failed");
            let text = "other writes kept getting in the way; nothing was written";
            retry(Code::Aborted, "WRITE_CONFLICT", text)
        }
        StorageError::UnknownOutcome(_) => {
            tracing::error!(%error, "outcome of a write unknown");
            let text = "the database did not confirm the commit of the write: it may or may not have happened";
            status(Code::Unknown, "OUTCOME_UNKNOWN", text)
        }
        StorageError::Unreadable(id) => unreadable(id),
        StorageError::UnreadableReply(_) => {
            tracing::error!(%error, "request id cannot be answered");
            let text = "what the first call with this request id returned cannot be read; it was carried out";
            status(Code::DataLoss, "REPLY_UNREADABLE", text)
        }
        StorageError::Url(_) | StorageError::Schema(_) | StorageError::Database(_) => internal(error),
    }
}

/// A stream of changes that cannot begin or go on.
pub(super) fn watch(error: &WatchError) -> Status {
    match error {
        WatchError::TooMany => {
            let text = "this replica has no place for another stream of changes; try again later, or another replica";
            status(Code::ResourceExhausted, "TOO_MANY_WATCHERS", text)
        }
        WatchError::TooSlow => {
            let text = "products change faster than this stream is read; resume with the token of the last message";
            status(Code::ResourceExhausted, "WATCH_TOO_SLOW", text)
        }
        WatchError::TooOld => {
            let text = "the change log does not tell any more what came after this start; \
                        read again what is to be followed, and start from now";
            status(Code::OutOfRange, "START_TOO_OLD", text)
        }
        WatchError::UnknownState => {
            invalid(&Violations::one("start_token", "names a state that the database does not have"))
        }
        WatchError::Read(error) => read(error),
        WatchError::Storage(StorageError::Unavailable(_) | StorageError::Timeout(_)) => {
            tracing::warn!(%error, "change log not read");
            unavailable("the database cannot be asked what has changed")
        }
        WatchError::Storage(error) => internal(error),
    }
}

/// A stream that ends because the server does.
pub(super) fn draining() -> Status {
    let text = "this replica is about to end; resume on another one with the token of the last message";
    status(Code::Unavailable, "DRAINING", text)
}

/// A reply that is larger than what may be sent.
pub(super) fn reply_too_large() -> Status {
    let text = "the reply would be larger than the server sends; ask for fewer products at once";
    status(Code::ResourceExhausted, "REPLY_TOO_LARGE", text)
}

/// Too much at once.
pub(super) fn overloaded() -> Status {
    retry(Code::ResourceExhausted, "OVERLOADED", "too many requests are waiting for the database")
}

fn unavailable(text: &str) -> Status {
    retry(Code::Unavailable, "DATABASE_UNAVAILABLE", text)
}

fn retry(code: Code, reason: &str, text: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    details.set_retry_info(Some(RETRY_AFTER));
    brief::status(code, text, details)
}

/// A defect. What it was stands in the log, under the id of the request.
pub(super) fn internal(cause: impl std::fmt::Display) -> Status {
    tracing::error!(%cause, "internal error");
    status(Code::Internal, "INTERNAL", "internal error; the log says more under this request's id")
}
