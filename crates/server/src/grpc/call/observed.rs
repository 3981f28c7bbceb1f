//! What is told of a call: its span, and a log line when it is slow.

use std::{
    num::NonZero,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use larder_cache::trace::{self, TraceContext};
use tokio::time::Instant;
use tonic::{Code, body};
use tracing::field::{self, Empty};

use super::{body::code, context::CallContext, methods};
use crate::{
    metrics::Calls,
    telemetry::{CallSpan, SlowCalls, Tracer},
};

/// Who is told of calls. By [`Default`] calls are measured and nobody is told.
#[derive(Clone, Default)]
pub struct Observers {
    /// Measures calls.
    pub(crate) calls: Arc<Calls>,
    /// Makes the spans of traced calls.
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Logs calls that are slow.
    pub(crate) slow: Option<SlowCalls>,
}

/// What is told of one call.
#[derive(Default)]
pub(super) struct Observed {
    /// The span of a traced call.
    span: Option<CallSpan>,
    /// The trace that the caller named.
    trace_id: Option<NonZero<u128>>,
    /// The fields of the call's log lines, and since when it has been waiting.
    waiting: Option<(tracing::Span, Instant)>,
    slow: Option<SlowCalls>,
}

impl Observers {
    /// Begins to observe a call of a caller that may have sent its trace context.
    pub(super) fn begin<B>(&self, request: &Request<B>, caller: Option<TraceContext>) -> Observed {
        let slow = self.slow;
        match &self.tracer {
            Some(tracer) if methods::is_traced(request.uri().path()) => {
                let span = tracer.begin(request, caller);
                let caller = caller.and_then(|caller| NonZero::new(caller.trace_id));
                let own = span.as_ref().and_then(|span| NonZero::new(span.context().trace_id));
                Observed { span, trace_id: own.or(caller), waiting: None, slow }
            }
            _ => Observed { slow, ..Observed::default() },
        }
    }
}

impl Observed {
    /// Works on the call, within its span and with the fields of its log lines.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let work = || match &self.waiting {
            None => work(),
            Some((fields, _)) => fields.in_scope(work),
        };
        match &self.span {
            None => work(),
            Some(span) => trace::enter(span.current(), work),
        }
    }

    /// Notes that the call waits for something other than its body. From here on its log lines have fields.
    pub(super) fn wait(&mut self, context: &CallContext) {
        if self.waiting.is_some() {
            return;
        }
        let CallContext { id, method, .. } = context;
        let id = id.to_str().unwrap_or_default();
        let fields = tracing::info_span!("call", request_id = id, method, trace_id = Empty, span_id = Empty);
        if let Some(trace_id) = self.trace_id {
            fields.record("trace_id", field::display(format_args!("{trace_id:032x}")));
        }
        if let Some(span) = &self.span {
            fields.record("span_id", field::display(format_args!("{:016x}", span.context().span_id)));
        }
        self.waiting = Some((fields, Instant::now()));
    }

    /// Ends the observation with the reply, or with the end of its body.
    pub(super) fn end(&mut self, response: Response<body::Body>) -> Response<body::Body> {
        let code = status_of(&response);
        if let (Some(slow), Some((fields, began))) = (&self.slow, &self.waiting) {
            fields.in_scope(|| slow.note(*began, code.unwrap_or(Code::Ok)));
        }
        let Some(span) = self.span.take() else { return response };
        match code {
            Some(code) => {
                span.end(code);
                response
            }
            None => response.map(|body| body::Body::new(TracedBody { body, span: Some(span) })),
        }
    }
}

/// The code of a reply, if its trailers do not tell it.
fn status_of<B>(response: &Response<B>) -> Option<Code> {
    if response.status() != http::StatusCode::OK {
        return Some(Code::Unknown);
    }
    code(response.headers())
}

/// The body of a traced call's reply. Its trailers end the span.
struct TracedBody {
    body: body::Body,
    /// `None` once the trailers have been sent.
    span: Option<CallSpan>,
}

impl Body for TracedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let mut poll = || Pin::new(&mut this.body).poll_frame(cx);
        let polled = match &this.span {
            None => poll(),
            Some(span) => trace::enter(span.current(), poll),
        };
        let ended = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().map(|trailers| code(trailers).unwrap_or(Code::Ok)),
            Poll::Ready(Some(Err(status))) => Some(status.code()),
            Poll::Ready(None) => Some(Code::Unknown),
        };
        if let Some(code) = ended
            && let Some(span) = this.span.take()
        {
            span.end(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
