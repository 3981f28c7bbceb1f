//! Spans of what the database does for a traced request.

use std::future::Future;

use larder_cache::trace::{self, SpanKind};
use larder_storage::{ProductRepository as _, Repository, StorageError};

/// Runs a statement within a span, if the request is traced. The summary is an operation and a table, such as `SELECT products`.
pub(super) async fn statement<T>(
    repository: &Repository,
    summary: &'static str,
    run: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let span = trace::start(summary, SpanKind::Client);
    if !span.is_traced() {
        return run.await;
    }
    let (operation, table) = summary.split_once(' ').unwrap_or((summary, ""));
    span.note("db.system.name", &*repository.backend().name.to_ascii_lowercase());
    span.note("db.operation.name", operation);
    span.note("db.collection.name", table);
    span.note("db.query.summary", summary);
    let outcome = run.await;
    if let Err(error) = &outcome {
        span.fail(match error {
            StorageError::Unavailable(_) => "unavailable",
            StorageError::Full(_) => "full",
            StorageError::Overloaded => "overloaded",
            StorageError::Timeout(_) => "timeout",
            _ => "failed",
        });
    }
    outcome
}
