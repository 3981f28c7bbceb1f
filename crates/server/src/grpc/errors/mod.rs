//! The one place where errors become gRPC statuses.

mod limit;
pub(super) mod tonic_status;

use std::{sync::LazyLock, time::Duration};

use larder_cache::{LoadError, ReadError};
use larder_storage::StorageError;
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use crate::{auth::Refused, catalog::WatchError, config::Contract, contract::Violations};

/// The domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "larder.dev";
/// The type of a product in `google.rpc.ResourceInfo`.
const PRODUCT: &str = "larder.catalog.v1.Product";
/// When to try again after the database was away or the server too busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The least wait that a refused call is told.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A status with its reason.
pub(in crate::grpc) fn status(code: Code, reason: &str, message: &str) -> Status {
    limit::status(code, message, ErrorDetails::with_error_info(reason, DOMAIN, []))
}

/// A request that breaks rules.
pub(in crate::grpc) fn invalid(violations: &Violations) -> Status {
    limit::invalid("INVALID_REQUEST", violations)
}

/// A product that does not exist.
pub(in crate::grpc) fn missing(id: &str) -> Status {
    about_product(Code::NotFound, "PRODUCT_NOT_FOUND", id, "there is no product of this id")
}

/// A product that does not exist, in the words of another shop's contract.
pub(in crate::grpc) fn absent(contract: Contract, id: &str) -> Status {
    let text = match contract {
        Contract::Hipstershop => format!("no product with ID {id}"),
        Contract::Oteldemo => format!("Product Not Found: {id}"),
    };
    let mut details = ErrorDetails::with_error_info("PRODUCT_NOT_FOUND", DOMAIN, [("id".to_owned(), id.to_owned())]);
    details.set_resource_info(PRODUCT, id, "", &text);
    limit::status(Code::NotFound, &text, details)
}

/// A catalogue that does not fit into one reply, where the contract has no pages.
pub(in crate::grpc) fn catalogue_too_large(products: u32, bytes: usize) -> Status {
    let text = format!(
        "this contract has no pages, and the catalogue holds more than {products} products or {bytes} bytes; \
         read it by larder.catalog.v1.ProductCatalog"
    );
    status(Code::ResourceExhausted, "CATALOGUE_TOO_LARGE", &text)
}

/// A product whose row cannot be read.
pub(in crate::grpc) fn unreadable(id: &str) -> Status {
    let text = "the row of this product holds what cannot be read; set it right in the database, replace the product or delete it";
    about_product(Code::DataLoss, "PRODUCT_UNREADABLE", id, text)
}

/// A product that exists already.
pub(in crate::grpc) fn exists(id: &str) -> Status {
    about_product(Code::AlreadyExists, "PRODUCT_EXISTS", id, "there is a product of this id already")
}

/// A product that has changed.
pub(in crate::grpc) fn changed(id: &str) -> Status {
    let text = "the product has changed since this etag was read; read it again and decide anew";
    about_product(Code::Aborted, "ETAG_MISMATCH", id, text)
}

fn about_product(code: Code, reason: &str, id: &str, text: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, [("id".to_owned(), id.to_owned())]);
    details.set_resource_info(PRODUCT, id, "", text);
    limit::status(code, &format!("{text}: {id}"), details)
}

/// A read that failed.
pub(in crate::grpc) fn read(error: &ReadError) -> Status {
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
    limit::invalid(reason, &Violations::one("read.at_least_as_fresh", rule))
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

/// A statement that failed.
pub(in crate::grpc) fn storage(error: &StorageError) -> Status {
    match error {
        StorageError::Unavailable(_) | StorageError::Timeout(_) => {
            tracing::warn!(%error, "database away");
            unavailable("the database is away or took too long")
        }
        StorageError::Full(_) => full(error),
        StorageError::Overloaded => overloaded(),
        error => internal(error),
    }
}

/// Makes a status of a failure. A call gets the span of its log lines when it first waits, so a failure waits once before it is
/// logged.
pub(in crate::grpc) async fn told<T, E>(outcome: Result<T, E>, status: impl FnOnce(&E) -> Status) -> Result<T, Status> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => {
            tokio::task::yield_now().await;
            Err(status(&error))
        }
    }
}

/// A write that failed, or whose outcome is unknown.
pub(in crate::grpc) fn write(error: &StorageError) -> Status {
    match error {
        StorageError::Unavailable(_) => {
            tracing::warn!(%error, "write failed");
            unavailable("the database is away; nothing was written")
        }
        StorageError::Full(_) => full(error),
        StorageError::Overloaded => overloaded(),
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
pub(in crate::grpc) fn watch(error: &WatchError) -> Status {
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
        WatchError::Storage(StorageError::Unavailable(_) | StorageError::Full(_) | StorageError::Timeout(_)) => {
            tracing::warn!(%error, "change log not read");
            unavailable("the database cannot be asked what has changed")
        }
        WatchError::Storage(error) => internal(error),
    }
}

/// A stream that ends because the server ends.
pub(in crate::grpc) fn draining() -> Status {
    let text = "this replica is about to end; resume on another one with the token of the last message";
    status(Code::Unavailable, "DRAINING", text)
}

/// A reply that is larger than the server sends.
pub(in crate::grpc) fn reply_too_large() -> Status {
    let text = "the reply would be larger than the server sends; ask for fewer products at once";
    status(Code::ResourceExhausted, "REPLY_TOO_LARGE", text)
}

/// A read or write that found no place in the queue for the database.
pub(in crate::grpc) fn overloaded() -> Status {
    retry(Code::ResourceExhausted, "OVERLOADED", "too many requests are waiting for the database")
}

/// A call for which there is no place beside those in progress. It is made once: a flood of such calls must cost little.
pub(in crate::grpc) fn too_many_calls() -> Status {
    static STATUS: LazyLock<Status> = LazyLock::new(|| {
        let text = "this replica has as many calls in progress as it may, in all or from this caller; try again later";
        retry(Code::ResourceExhausted, "TOO_MANY_CALLS", text)
    });
    STATUS.clone()
}

/// A call of a caller that has made as many as it may for `wait`.
pub(in crate::grpc) fn rate_limited(wait: Duration) -> Status {
    let text = "this caller makes more calls than it may; try again when RetryInfo says";
    retry_after(wait.max(LEAST_WAIT), Code::ResourceExhausted, "RATE_LIMITED", text)
}

/// An import for which there is no place.
pub(in crate::grpc) fn too_many_imports() -> Status {
    let text = "this replica has no place for another import of this client; wait until one has ended";
    retry(Code::ResourceExhausted, "TOO_MANY_IMPORTS", text)
}

/// A message that does not come to its end.
pub(in crate::grpc) fn message_too_slow() -> Status {
    status(Code::DeadlineExceeded, "MESSAGE_TOO_SLOW", "a message was begun and did not come to its end in time")
}

/// A message that has no room beside other unfinished ones.
pub(in crate::grpc) fn unfinished_messages() -> Status {
    let text = "too many messages have been begun and not ended; this one has no room";
    retry(Code::ResourceExhausted, "UNFINISHED_MESSAGES", text)
}

/// A call on a connection for which there was no place.
pub(in crate::grpc) fn too_many_connections() -> Status {
    let text = "this replica has as many connections as it may; try again later, or another replica";
    retry(Code::ResourceExhausted, "TOO_MANY_CONNECTIONS", text)
}

/// A call of a client that does not read the replies that it has.
pub(in crate::grpc) fn unread_replies() -> Status {
    let text = "the replies on this connection are not read, and this replica holds no more of them; read them first";
    retry(Code::ResourceExhausted, "REPLIES_UNREAD", text)
}

/// A call that the gate refuses. It tells nothing of what is wrong with a credential: whoever guesses must not be helped.
pub(in crate::grpc) fn refused(refused: &Refused) -> Status {
    match refused {
        Refused::Unauthenticated(_) => {
            status(Code::Unauthenticated, "UNAUTHENTICATED", "credentials are missing or not accepted")
        }
        Refused::Denied(_) => {
            status(Code::PermissionDenied, "PERMISSION_DENIED", "the caller's role does not allow this method")
        }
    }
}

/// A method that does not exist.
pub(in crate::grpc) fn unknown_method() -> Status {
    status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method; reflection lists those there are")
}

/// A call whose deadline has passed.
pub(in crate::grpc) fn deadline() -> Status {
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline of the call has passed")
}

/// A call with several messages of a method that takes one.
pub(in crate::grpc) fn second_message() -> Status {
    status(Code::InvalidArgument, "SECOND_MESSAGE", "this method takes one message, and the call has more")
}

/// A call with more headers than the server reads.
pub(in crate::grpc) fn headers_too_large(size: usize, most: usize) -> Status {
    let text = format!("the call's headers are {size} bytes, with 32 for each; the server accepts {most}");
    status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", &text)
}

/// A call with messages in another encoding than Protocol Buffers.
pub(in crate::grpc) fn content_subtype() -> Status {
    let text = "messages must be Protocol Buffers: content-type application/grpc or application/grpc+proto";
    status(Code::Unimplemented, "CONTENT_TYPE_UNSUPPORTED", text)
}

/// A write for which the database has no room.
fn full(error: &StorageError) -> Status {
    tracing::warn!(%error, "write failed");
    retry(Code::ResourceExhausted, "DATABASE_FULL", "the database has no room for this write; nothing was written")
}

fn unavailable(text: &str) -> Status {
    retry(Code::Unavailable, "DATABASE_UNAVAILABLE", text)
}

fn retry(code: Code, reason: &str, text: &str) -> Status {
    retry_after(RETRY_AFTER, code, reason, text)
}

fn retry_after(wait: Duration, code: Code, reason: &str, text: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    details.set_retry_info(Some(wait));
    limit::status(code, text, details)
}

/// A defect. The log describes it, under the id of the request.
pub(in crate::grpc) fn internal(cause: impl std::fmt::Display) -> Status {
    tracing::error!(%cause, "internal error");
    status(Code::Internal, "INTERNAL", "internal error; the log says more under this request's id")
}
