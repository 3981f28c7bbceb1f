//! Replies on their way to slow readers: how much of them is in memory, and how long.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::usage::{CallGuard, Usage};

/// Unsent bytes of one connection above which its replies wait.
const OF_A_CONNECTION: usize = 2 << 20;
/// Unsent bytes of all connections above which those that do not read get no further call.
const OF_ALL: usize = 48 << 20;
/// A connection with less than this is read by its client.
const READ: usize = 64 << 10;
/// Frames up to this size are not counted: with all its streams a connection has no more than 4 MiB of them.
const SMALL: usize = 4 << 10;

/// The unsent bytes of all connections of a listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsent(Arc<AtomicUsize>);

impl Unsent {
    /// Whether a connection may begin another call.
    pub(super) fn admits(&self, usage: &Usage) -> bool {
        usage.unsent() <= READ || self.0.load(Ordering::Relaxed) <= OF_ALL
    }
}

/// The body of a reply, whose call is in progress until its last byte has left.
#[derive(Debug)]
pub(super) struct Counted<B> {
    body: B,
    usage: Arc<Usage>,
    unsent: Unsent,
    _call: CallGuard,
}

impl<B> Counted<B> {
    pub(super) fn new(body: B, call: CallGuard, unsent: Unsent) -> Self {
        Self { body, usage: Arc::clone(call.usage()), unsent, _call: call }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.usage.has_room(OF_A_CONNECTION, cx.waker()) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_ok(|frame| frame.map_data(|data| if data.len() > SMALL { self.held(data) } else { data }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Counted<B> {
    /// Bytes that are counted until HTTP/2 has written or dropped them.
    fn held(&self, data: Bytes) -> Bytes {
        self.usage.hold(data.len());
        self.unsent.0.fetch_add(data.len(), Ordering::Relaxed);
        Bytes::from_owner(Held { data, call: self.usage.begin(), unsent: self.unsent.clone() })
    }
}

/// A piece of a reply.
struct Held {
    data: Bytes,
    /// The call is in progress until the piece has left, even if the rest of the reply has.
    call: CallGuard,
    unsent: Unsent,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unsent.0.fetch_sub(self.data.len(), Ordering::Relaxed);
        self.call.usage().release(self.data.len());
    }
}

thread_local! {
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long after a deadline what the service says of it may take to leave.
const GRACE: Duration = Duration::from_secs(1);

/// Limits the time until the last byte of the reply has left that is being made on this thread: a moment after its deadline.
pub(crate) fn limit_reply(until: Instant) {
    UNTIL.set(Some(until + GRACE));
}

pin_project! {
    /// A stream until it ends, or until the deadline of its reply. A stream that is dropped is reset. An `async fn` would hold the
    /// stream twice, as its argument and as its local variable, and every call would pay for that.
    pub(super) struct InTime<F> {
        #[pin]
        stream: F,
        until: Option<Instant>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> InTime<F> {
    pub(super) fn new(stream: F) -> Self {
        Self { stream, until: None, timer: None }
    }
}

impl<F: Future<Output = ()>> Future for InTime<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        UNTIL.set(None);
        let polled = this.stream.poll(cx);
        *this.until = UNTIL.take().or(*this.until);
        match (polled, *this.until) {
            (Poll::Ready(()), _) => Poll::Ready(()),
            (Poll::Pending, None) => Poll::Pending,
            // A reply that does not leave at once.
            (Poll::Pending, Some(until)) => {
                this.timer.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_held_once() {
        let large = [0_u8; 1_000];
        let stream = async move {
            std::future::ready(()).await;
            std::hint::black_box(&large);
        };
        let alone = size_of_val(&stream);
        assert!(size_of_val(&InTime::new(stream)) < alone + 100);
    }
}
