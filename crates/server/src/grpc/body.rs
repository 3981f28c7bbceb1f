//! Requests whose body is still to come.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

thread_local! {
    static AWAITED: Cell<bool> = const { Cell::new(false) };
}

/// A body that notes when it has to be waited for.
pub(super) struct Awaited(pub(super) Incoming);

/// Polls, and tells whether that waits for a body. The two are on one thread.
pub(super) fn polled<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
    AWAITED.set(false);
    let polled = poll();
    let awaits_body = polled.is_pending() && AWAITED.get();
    (polled, awaits_body)
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        if frame.is_pending() {
            AWAITED.set(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
