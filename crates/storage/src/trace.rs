//! The trace of a write, which its rows in the change log name.

use std::future::Future;

tokio::task_local! {
    static TRACEPARENT: Box<str>;
}

/// The length of a W3C `traceparent` of version 00.
const LENGTH: usize = 55;

/// Runs writes whose rows in the change log are to name a span, by its W3C `traceparent`. A text that is none is ignored.
pub async fn with_traceparent<F: Future>(traceparent: String, write: F) -> F::Output {
    // The text becomes a part of a statement.
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if traceparent.len() == LENGTH && traceparent.bytes().all(digits) {
        TRACEPARENT.scope(traceparent.into(), write).await
    } else {
        write.await
    }
}

/// The span of the write under way, if it is traced.
pub(crate) fn current() -> Option<Box<str>> {
    TRACEPARENT.try_with(Clone::clone).ok()
}
