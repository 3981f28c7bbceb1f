//! Which calls are traced, and what their spans begin with.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request};
use larder_cache::{
    ChangeSource, TracedChanges,
    trace::{Note, TraceContext},
};
use opentelemetry_proto::tonic::{
    resource::v1::Resource,
    trace::v1::{self as otlp, span::SpanKind},
};
use tokio::runtime::Handle;

use super::{
    baggage,
    export::{Exporter, Queue},
    span::{CallSpan, Place, PostSpan, Recorded, attribute, link, note},
};
use crate::{
    config::{Sampler, TelemetryConfig},
    error::ServeError,
};

/// The longest `tracestate` that is passed on to the receiver, in bytes: what the specification obliges everybody to take.
const LONGEST_STATE: usize = 512;

/// Makes spans of traced calls.
pub struct Tracer {
    sampler: Sampler,
    queue: Queue,
    keys: bool,
    baggage: Vec<String>,
}

/// Traces while they are on: the tracer, and the task that exports its spans.
pub struct Tracing {
    tracer: Arc<Tracer>,
    exporter: Exporter,
}

impl Tracing {
    /// Starts to export spans on a runtime, if the configuration names a receiver. `instance` names this replica.
    pub fn start(config: &TelemetryConfig, instance: u64, runtime: &Handle) -> Result<Option<Self>, ServeError> {
        let Some(spans) = &config.traces else { return Ok(None) };
        let (queue, exporter) = Exporter::start(spans, resource(config, instance), runtime)?;
        let tracer =
            Tracer { sampler: spans.sampler, queue, keys: config.trace_keys, baggage: config.trace_baggage.clone() };
        Ok(Some(Self { tracer: Arc::new(tracer), exporter }))
    }

    /// The tracer.
    pub fn tracer(&self) -> &Arc<Tracer> {
        &self.tracer
    }

    /// Exports the spans that wait, and ends. What is not exported within `at_most` is dropped.
    pub async fn stop(self, at_most: Duration) {
        self.exporter.stop(at_most).await;
    }
}

impl Tracer {
    /// The spans that were dropped, because the queue was full or the receiver did not take them: the metric
    /// `larder_telemetry_dropped_total` of the signal `traces`.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Decides whether a call is traced, and starts its span. `caller` is the context that the [caller] sent.
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &Request<B>, caller: Option<TraceContext>) -> Option<CallSpan> {
        if !self.samples(caller) {
            return None;
        }
        let method = request.uri().path().trim_start_matches('/');
        let span = self.of_server(request.headers(), caller, method);
        span.change(|span| {
            note(span, "rpc.system.name", Note::Text("grpc"));
            note(span, "rpc.method", Note::Text(method));
        });
        Some(CallSpan::new(span))
    }

    /// Decides whether a POST to a route is traced, and starts its span.
    pub(crate) fn begin_post(self: &Arc<Self>, headers: &HeaderMap, route: &'static str) -> Option<PostSpan> {
        let caller = caller(headers);
        if !self.samples(caller) {
            return None;
        }
        let span = self.of_server(headers, caller, &format!("POST {route}"));
        span.change(|span| {
            note(span, "http.request.method", Note::Text("POST"));
            note(span, "http.route", Note::Text(route));
        });
        Some(PostSpan::new(span))
    }

    /// Starts the span of a request, which continues the trace of the caller if there is one.
    fn of_server(self: &Arc<Self>, headers: &HeaderMap, caller: Option<TraceContext>, name: &str) -> Recorded {
        let place = Place {
            trace_id: caller.map_or_else(random_trace, |caller| caller.trace_id),
            parent: caller.map_or(0, |caller| caller.span_id),
            remote: caller.is_some(),
        };
        let span = Recorded::outermost(Arc::clone(self), &place, name.to_owned(), SpanKind::Server);
        span.change(|span| {
            if let Some(state) = only(headers, "tracestate").filter(|state| state.len() <= LONGEST_STATE)
                && caller.is_some()
            {
                state.clone_into(&mut span.trace_state);
            }
            for (name, value) in baggage::members(headers, &self.baggage) {
                note(span, &format!("baggage.{name}"), Note::Text(&value));
            }
        });
        span
    }

    /// Records that changes of a traced write elsewhere were applied here: a trace of its own, linked to the span of the write.
    pub(crate) fn applied(self: &Arc<Self>, changes: &TracedChanges) {
        let place = Place { trace_id: random_trace(), parent: 0, remote: false };
        let (source, kind) = match changes.source {
            ChangeSource::Own => ("own", SpanKind::Internal),
            ChangeSource::Bus => ("bus", SpanKind::Consumer),
            ChangeSource::Log => ("log", SpanKind::Internal),
        };
        let span = Recorded::outermost(Arc::clone(self), &place, "apply changes".to_owned(), kind);
        span.change(|span| {
            span.links.push(link(changes.write, true));
            note(span, "larder.invalidation.source", Note::Text(source));
            note(span, "larder.invalidation.changes", Note::Number(changes.count as u64));
            if changes.source == ChangeSource::Bus {
                note(span, "messaging.system", Note::Text("redis"));
                note(span, "messaging.operation.name", Note::Text("apply"));
                note(span, "messaging.operation.type", Note::Text("process"));
            }
        });
    }

    /// Whether the span of a call is recorded. Of calls with the same trace a ratio takes all or none.
    fn samples(&self, caller: Option<TraceContext>) -> bool {
        let Sampler { parent_based, ratio } = self.sampler;
        match caller {
            Some(caller) if parent_based => caller.sampled,
            Some(caller) => within(ratio, caller.trace_id),
            None if ratio <= 0.0 => false,
            None => ratio >= 1.0 || within(ratio, random_trace()),
        }
    }

    pub(super) fn takes_keys(&self) -> bool {
        self.keys
    }

    /// Queues a span that has ended. Never waits.
    pub(super) fn export(&self, span: otlp::Span) {
        self.queue.push(span);
    }
}

/// Whether a trace belongs to a share of all traces: its last 56 bits are random (W3C Trace Context, level 2).
fn within(ratio: f64, trace_id: u128) -> bool {
    const BITS: u32 = 56;
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let steps = (1_u64 << BITS) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is from 0 to 1")]
    let end = (ratio * steps) as u128;
    trace_id & ((1 << BITS) - 1) < end
}

/// What tells this replica from other services and replicas. `instance` names the replica.
pub(crate) fn resource(config: &TelemetryConfig, instance: u64) -> Resource {
    let instance = format!("{instance:016x}");
    let own = [
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &*instance),
        ("telemetry.sdk.name", "larder"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let given = |name: &str| config.resource.iter().any(|(key, _)| key == name);
    let own = own.into_iter().filter(|(name, _)| !given(name));
    let attributes = config.resource.iter().map(|(key, value)| (&**key, &**value)).chain(own);
    let attributes = attributes.map(|(name, value)| attribute(name, Note::Text(value))).collect();
    Resource { attributes, ..Resource::default() }
}

/// The trace context that the headers of a call carry. One that is invalid, or not the only one, counts as none.
pub(crate) fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    only(headers, "traceparent").and_then(TraceContext::parse)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

/// The id of a span.
#[expect(clippy::disallowed_methods, reason = "an id only has to differ from others")]
pub(super) fn random_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// The id of a trace.
#[expect(clippy::disallowed_methods, reason = "an id only has to differ from others")]
pub(super) fn random_trace() -> u128 {
    rand::random::<u128>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

    fn tracer(parent_based: bool, ratio: f64) -> Arc<Tracer> {
        let queue = Queue::unread(16);
        Arc::new(Tracer { sampler: Sampler { parent_based, ratio }, queue, keys: false, baggage: Vec::new() })
    }

    fn call(headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn parent(flags: &str) -> String {
        format!("00-{TRACE:032x}-b7ad6b7169203331-{flags}")
    }

    fn traced(tracer: &Arc<Tracer>, headers: &[(&'static str, &str)]) -> Option<TraceContext> {
        let call = call(headers);
        tracer.begin(&call, caller(call.headers())).map(|span| span.context())
    }

    #[test]
    fn the_decision_of_the_caller_counts_where_there_is_one() {
        let (sampled, unsampled) = (parent("01"), parent("00"));
        for ratio in [0.0, 1.0] {
            let tracer = tracer(true, ratio);
            assert_eq!(traced(&tracer, &[("traceparent", &sampled)]).map(|span| span.trace_id), Some(TRACE));
            assert_eq!(traced(&tracer, &[("traceparent", &unsampled)]), None);
            assert_eq!(traced(&tracer, &[]).is_some(), ratio >= 1.0);
            let invalid = [("traceparent", "00-0-0-01")];
            assert_eq!(traced(&tracer, &invalid).is_some(), ratio >= 1.0, "an invalid context is none");
            let twice = [("traceparent", &*sampled), ("traceparent", &*sampled)];
            assert_ne!(traced(&tracer, &twice).map(|span| span.trace_id), Some(TRACE));
        }
        assert_eq!(traced(&tracer(false, 0.0), &[("traceparent", &sampled)]), None);
        assert!(traced(&tracer(false, 1.0), &[("traceparent", &unsampled)]).is_some());
    }

    #[test]
    fn a_ratio_takes_its_share() {
        let part = (0..10_000_u128).filter(|number| within(0.25, (number << 42) | 7)).count();
        assert_eq!(part, 4_096, "of 2^14 steps over the range");
        assert!(within(1.0, u128::MAX) && !within(0.0, 1 << 60));
        let tracer = tracer(true, 0.5);
        let taken = (0..1_000).filter(|_| tracer.samples(None)).count();
        assert!((350..650).contains(&taken), "{taken}");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let tracer = tracer(true, 1.0);
        for _ in 0..20 {
            assert!(traced(&tracer, &[]).is_some());
        }
        assert_eq!(tracer.dropped(), 4);
    }
}
