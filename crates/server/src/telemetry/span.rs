//! Spans of traced calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use larder_cache::trace::{ActiveSpan, Note, Span, SpanKind, TraceContext};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1 as otlp,
};
use tonic::Code;

use super::tracer::{Tracer, random_id, random_trace};
use crate::codes::code_name;

/// The most attributes of a span. Larder sets fewer; a page of many keys must not make a span of any size.
const MOST_ATTRIBUTES: usize = 64;
/// The longest text of an attribute, in bytes.
const LONGEST_TEXT: usize = 1_024;

/// A span that is recorded until it ends, which puts it into the queue of the exporter.
pub(super) struct Recorded {
    tracer: Arc<Tracer>,
    trace_id: u128,
    span_id: u64,
    /// The outermost span of the request in this process.
    request: TraceContext,
    /// `None` once the span has ended.
    span: Mutex<Option<otlp::Span>>,
}

/// The place of a span among others.
pub(super) struct Place {
    pub(super) trace_id: u128,
    /// The span above, or zero.
    pub(super) parent: u64,
    /// Whether the span above is one of another process.
    pub(super) remote: bool,
}

impl Recorded {
    /// Starts the outermost span of a request in this process.
    pub(super) fn outermost(tracer: Arc<Tracer>, place: &Place, name: String, kind: otlp::span::SpanKind) -> Self {
        let span_id = random_id();
        let request = TraceContext { trace_id: place.trace_id, span_id, sampled: true };
        let span = Mutex::new(Some(begun(place, span_id, name, kind)));
        Self { tracer, trace_id: place.trace_id, span_id, request, span }
    }

    /// Names the span by its trace and its own id.
    pub(super) fn context(&self) -> TraceContext {
        TraceContext { trace_id: self.trace_id, span_id: self.span_id, sampled: true }
    }

    /// Changes the span, unless it has ended.
    pub(super) fn change(&self, change: impl FnOnce(&mut otlp::Span)) {
        if let Some(span) = self.span.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            change(span);
        }
    }

    /// Ends the span. What is told of it later is ignored.
    pub(super) fn end(&self) {
        let ended = self.span.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut span) = ended {
            span.end_time_unix_nano = now_nanos().max(span.start_time_unix_nano);
            self.tracer.export(span);
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.end();
    }
}

impl Span for Recorded {
    fn start(&self, name: &'static str, kind: SpanKind) -> Arc<dyn Span> {
        let (trace_id, span_id) = (self.trace_id, random_id());
        let place = Place { trace_id, parent: self.span_id, remote: false };
        let kind = match kind {
            SpanKind::Internal => otlp::span::SpanKind::Internal,
            SpanKind::Client => otlp::span::SpanKind::Client,
            SpanKind::Producer => otlp::span::SpanKind::Producer,
            SpanKind::Consumer => otlp::span::SpanKind::Consumer,
        };
        let span = Mutex::new(Some(begun(&place, span_id, name.to_owned(), kind)));
        Arc::new(Self { tracer: Arc::clone(&self.tracer), trace_id, span_id, request: self.request, span })
    }

    fn start_linked(&self, name: &'static str, links: &[TraceContext]) -> Arc<dyn Span> {
        let place = Place { trace_id: random_trace(), parent: 0, remote: false };
        let tracer = Arc::clone(&self.tracer);
        let span = Self::outermost(tracer, &place, name.to_owned(), otlp::span::SpanKind::Internal);
        span.change(|span| span.links.extend(links.iter().map(|&to| link(to, false))));
        Arc::new(span)
    }

    fn note(&self, name: &'static str, value: Note<'_>) {
        self.change(|span| note(span, name, value));
    }

    fn fail(&self, reason: &'static str) {
        self.change(|span| fail(span, reason));
    }

    fn takes_keys(&self) -> bool {
        self.tracer.takes_keys()
    }

    fn context(&self) -> TraceContext {
        self.request
    }
}

/// The span of a call. Dropped without a code, the call was cancelled.
pub(crate) struct CallSpan {
    span: Arc<Recorded>,
    /// The span as the task knows it.
    current: Arc<dyn Span>,
    /// Whether the end has been told.
    ended: bool,
}

impl CallSpan {
    pub(super) fn new(span: Recorded) -> Self {
        let span = Arc::new(span);
        Self { current: Arc::clone(&span) as Arc<dyn Span>, span, ended: false }
    }

    /// Names the span.
    pub(crate) fn context(&self) -> TraceContext {
        self.span.context()
    }

    /// The span, for the work of the call.
    pub(crate) fn current(&self) -> &Arc<dyn Span> {
        &self.current
    }

    /// Ends the span with the code of the call's status.
    pub(crate) fn end(mut self, code: Code) {
        self.tell(code);
    }

    fn tell(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let name = code_name(code);
        self.span.change(|span| {
            note(span, "rpc.response.status_code", Note::Text(name));
            if is_failure_of_server(code) {
                fail(span, name);
            }
            if code == Code::Unimplemented {
                // Anything may be a path; a bounded set of names is what receivers expect.
                span.attributes.retain(|attribute| attribute.key != "rpc.method");
                note(span, "rpc.method", Note::Text("_OTHER"));
                let method = std::mem::replace(&mut span.name, "_OTHER".to_owned());
                note(span, "rpc.method_original", Note::Text(&method));
            }
        });
        self.span.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.tell(Code::Cancelled);
    }
}

/// The span of a request over HTTP/1.1. Dropped without a status, the request was cancelled.
pub(crate) struct PostSpan(Arc<Recorded>);

impl PostSpan {
    pub(super) fn new(span: Recorded) -> Self {
        Self(Arc::new(span))
    }

    /// The span, for the work of the request.
    pub(crate) fn active(&self) -> ActiveSpan {
        ActiveSpan::from(Arc::clone(&self.0) as Arc<dyn Span>)
    }

    /// Ends the span with the status of the response.
    pub(crate) fn end(self, status: StatusCode) {
        self.0.change(|span| {
            note(span, "http.response.status_code", Note::Number(status.as_u16().into()));
            if status.is_server_error() {
                fail(span, status.as_str());
            }
        });
        self.0.end();
    }
}

fn begun(place: &Place, span_id: u64, name: String, kind: otlp::span::SpanKind) -> otlp::Span {
    otlp::Span {
        trace_id: place.trace_id.to_be_bytes().to_vec(),
        span_id: span_id.to_be_bytes().to_vec(),
        parent_span_id: if place.parent == 0 { Vec::new() } else { place.parent.to_be_bytes().to_vec() },
        flags: sampled_flags(place.remote),
        name,
        kind: kind.into(),
        start_time_unix_nano: now_nanos(),
        ..otlp::Span::default()
    }
}

/// A link to a span. `remote`: the span is of another process.
pub(super) fn link(to: TraceContext, remote: bool) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: to.trace_id.to_be_bytes().to_vec(),
        span_id: to.span_id.to_be_bytes().to_vec(),
        flags: sampled_flags(remote),
        ..otlp::span::Link::default()
    }
}

/// The flags of a sampled span, which also say whether what is above it, or linked to it, is in another process.
fn sampled_flags(remote: bool) -> u32 {
    use otlp::SpanFlags::{ContextHasIsRemoteMask, ContextIsRemoteMask};
    /// The flag of W3C Trace Context.
    const SAMPLED: u32 = 1;
    let remote = if remote { ContextIsRemoteMask as u32 } else { 0 };
    SAMPLED | ContextHasIsRemoteMask as u32 | remote
}

/// Adds an attribute.
pub(super) fn note(span: &mut otlp::Span, name: &str, value: Note<'_>) {
    if span.attributes.len() >= MOST_ATTRIBUTES {
        span.dropped_attributes_count += 1;
        return;
    }
    span.attributes.push(attribute(name, value));
}

/// An attribute in the form of OTLP.
pub(crate) fn attribute(name: &str, value: Note<'_>) -> KeyValue {
    let value = match value {
        Note::Text(text) => Value::StringValue(text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()),
        Note::Number(number) => Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
        Note::Truth(truth) => Value::BoolValue(truth),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn fail(span: &mut otlp::Span, reason: &str) {
    note(span, "error.type", Note::Text(reason));
    span.status = Some(otlp::Status { code: otlp::status::StatusCode::Error.into(), message: String::new() });
}

/// The codes that the semantic conventions of gRPC count as failures of a server.
fn is_failure_of_server(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The time of receivers of spans and metrics.
#[expect(clippy::disallowed_methods, reason = "the times of spans and points decide nothing")]
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
