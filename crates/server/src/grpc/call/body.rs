//! Bodies of requests and replies.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::{Code, Status, codegen::StdError};

use super::{
    shares::Share,
    unfinished::{Room, Unfinished},
};
use crate::{
    grpc::errors::{self, tonic_status},
    metrics::Measured,
};

thread_local! {
    static AWAITED: Cell<bool> = const { Cell::new(false) };
}

/// The body of a request. It notes when the service has to wait for it, and ends with an error where a second message begins
/// that the method does not take: tonic would ignore that message.
pub struct Inbound {
    incoming: Incoming,
    /// `None` for a method that takes a stream.
    message: Option<OneMessage>,
    unfinished: Unfinished,
}

/// How much of the only message of a body has arrived.
#[derive(Debug, Default)]
struct OneMessage {
    prefix: [u8; PREFIX],
    prefix_read: usize,
    left: usize,
}

/// Bytes before every message: a flag and a length.
pub(super) const PREFIX: usize = 5;

impl Inbound {
    /// The body of a call; the method takes a `stream` of messages, or one message.
    pub(super) fn new(incoming: Incoming, stream: bool, room: Room) -> Self {
        Self { incoming, message: (!stream).then(OneMessage::default), unfinished: Unfinished::new(room) }
    }
}

/// Polls, and tells whether the poll waits for a body. Poll and body run on one thread.
pub(super) fn polled<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
    AWAITED.set(false);
    let polled = poll();
    let awaits_body = polled.is_pending() && AWAITED.get();
    (polled, awaits_body)
}

impl OneMessage {
    /// Takes the next bytes of the body; returns false when they exceed the message.
    fn take(&mut self, mut data: &[u8]) -> bool {
        if self.prefix_read < PREFIX {
            let read = data.len().min(PREFIX - self.prefix_read);
            self.prefix[self.prefix_read..][..read].copy_from_slice(&data[..read]);
            self.prefix_read += read;
            data = &data[read..];
            if self.prefix_read < PREFIX {
                return true;
            }
            let [_, length @ ..] = self.prefix;
            self.left = u32::from_be_bytes(length) as usize;
        }
        let inside = data.len() <= self.left;
        self.left = self.left.saturating_sub(data.len());
        inside
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            if this.message.as_mut().is_some_and(|message| !message.take(data)) {
                return Poll::Ready(Some(Err(errors::second_message().into())));
            }
            if !this.unfinished.take(data) {
                return Poll::Ready(Some(Err(errors::unfinished_messages().into())));
            }
        }
        if polled.is_pending() {
            AWAITED.set(true);
            if this.unfinished.poll_overdue(cx).is_ready() {
                return Poll::Ready(Some(Err(errors::message_too_slow().into())));
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of a reply, whose trailers may hold an error that tonic made. The call ends with them.
pub(super) struct Corrected {
    body: tonic::body::Body,
    measured: Option<Measured>,
    _place: Option<Share>,
}

impl Corrected {
    pub(super) fn new(body: tonic::body::Body, measured: Option<Measured>, place: Option<Share>) -> Self {
        Self { body, measured, _place: place }
    }
}

/// The status of a call, if headers or trailers tell it.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

impl Body for Corrected {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| {
            frame.map(|frame| {
                let mut frame = frame?;
                if let Some(trailers) = frame.trailers_mut() {
                    tonic_status::correct_trailers(trailers);
                    if let (Some(code), Some(measured)) = (code(trailers), self.measured.take()) {
                        measured.finish(code);
                    }
                }
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_ends_where_it_says() {
        let body = [&[0, 0, 0, 1, 3][..], &[7; 259]].concat();
        for cut in 0..body.len() {
            let mut message = OneMessage::default();
            assert!(message.take(&body[..cut]) && message.take(&body[cut..]), "cut at {cut}");
            assert!(message.take(&[]), "nothing is no message");
            assert!(!message.take(&[0]));
        }
        assert!(!OneMessage::default().take(&[body.as_slice(), &[0]].concat()));
        let mut empty = OneMessage::default();
        assert!(empty.take(&[0; 5]));
        assert!(!empty.take(&[0; 5]));
    }
}
