//! The trace of a write, which its rows in the change log name.

use std::future::Future;

use larder_change::TraceContext;

tokio::task_local! {
    static CONTEXT: TraceContext;
}

/// Runs a write whose rows in the change log name a span.
pub async fn with_trace<F: Future>(context: TraceContext, write: F) -> F::Output {
    CONTEXT.scope(context, write).await
}

/// The W3C `traceparent` of the write in progress, if the write is traced.
pub(crate) fn traceparent() -> Option<String> {
    CONTEXT.try_with(ToString::to_string).ok()
}

/// The span that a row of the change log names. Anybody may have written anything there.
pub(crate) fn parse(traceparent: Option<&str>) -> Option<TraceContext> {
    traceparent.and_then(TraceContext::parse).filter(|context| context.sampled)
}
