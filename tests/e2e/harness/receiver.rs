//! A receiver of spans and metrics by OTLP.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Read as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data, number_data_point},
    trace::v1::{self as otlp, span::SpanKind},
};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tonic::{Request, Response, Status, codegen::Service as _};

use super::eventually;

/// A span, and the instance of the service that it came from.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) instance: String,
    pub(crate) span: otlp::Span,
}

/// Receives spans and metrics until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

/// The series of metrics by their names in Prometheus, with their values; of a histogram, its count.
pub(crate) type Points = BTreeMap<String, f64>;

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    /// The metrics of the last export.
    metrics: Mutex<Vec<Metric>>,
    /// The exports of metrics so far.
    exports: Mutex<usize>,
    /// The headers of the last export over HTTP.
    headers: Mutex<HeaderMap>,
    /// Whether exports go unanswered.
    hangs: AtomicBool,
}

/// What a receiver speaks.
#[derive(Clone, Copy)]
enum Speech {
    Grpc,
    Http,
}

impl Receiver {
    /// A receiver over gRPC.
    pub(crate) async fn start() -> Self {
        Self::listening(Speech::Grpc, false).await
    }

    /// A receiver over HTTP.
    pub(crate) async fn over_http() -> Self {
        Self::listening(Speech::Http, false).await
    }

    /// A receiver over gRPC that takes exports and never answers.
    pub(crate) async fn hanging() -> Self {
        Self::listening(Speech::Grpc, true).await
    }

    /// Likewise over HTTP.
    pub(crate) async fn hanging_over_http() -> Self {
        Self::listening(Speech::Http, true).await
    }

    async fn listening(speech: Speech, hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Received { hangs: AtomicBool::new(hangs), ..Received::default() });
        let task = tokio::spawn(serve(listener, speech, Arc::clone(&received)));
        Self { address, received, task }
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().expect("no panic").clone()
    }

    /// Waits until a span is there that fits, and returns it.
    pub(crate) async fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || self.spans().iter().any(&fits)).await;
        self.spans().into_iter().find(fits).expect("it was there")
    }

    /// How many exports of metrics arrived.
    pub(crate) fn exports(&self) -> usize {
        *self.received.exports.lock().expect("no panic")
    }

    /// The metrics of the last export.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.received.metrics.lock().expect("no panic").clone()
    }

    /// The headers of the last export over HTTP.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.received.headers.lock().expect("no panic").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, speech: Speech, received: Arc<Received>) {
    // Dropped with the task, so that a receiver that is gone has no connections either.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let received = Arc::clone(&received);
        match speech {
            Speech::Grpc => connections.spawn(speak_grpc(stream, received)),
            Speech::Http => connections.spawn(speak_http(stream, received)),
        };
    }
}

async fn speak_grpc(stream: TcpStream, received: Arc<Received>) {
    let traces = TraceServiceServer::from_arc(Arc::clone(&received));
    let metrics = MetricsServiceServer::from_arc(received);
    let answer = service_fn(move |request: http::Request<Incoming>| {
        let (mut traces, mut metrics) = (traces.clone(), metrics.clone());
        async move {
            let answered = if request.uri().path().contains("TraceService") {
                traces.call(request).await
            } else {
                metrics.call(request).await
            };
            Ok::<_, Infallible>(answered.unwrap_or_else(|never| match never {}))
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn speak_http(stream: TcpStream, received: Arc<Received>) {
    let answer = service_fn(move |request| {
        let received = Arc::clone(&received);
        async move { Ok::<_, Infallible>(received.answer(request).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

impl Received {
    async fn hang(&self) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Answers an export over HTTP.
    async fn answer(&self, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
        self.hang().await;
        let (head, body) = request.into_parts();
        let mut body = body.collect().await.expect("a whole request").to_bytes().to_vec();
        if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
            body = plain;
        }
        *self.headers.lock().expect("no panic") = head.headers;
        let mut response = http::Response::new(Full::default());
        match head.uri.path() {
            "/v1/traces" => self.take_spans(ExportTraceServiceRequest::decode(&*body).expect("spans")),
            "/v1/metrics" => self.take_metrics(ExportMetricsServiceRequest::decode(&*body).expect("metrics")),
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        response
    }

    fn take_spans(&self, request: ExportTraceServiceRequest) {
        for of_resource in request.resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let instance = text(&attributes, "service.instance.id").unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            let spans = spans.map(|span| Span { instance: instance.clone(), span });
            self.spans.lock().expect("no panic").extend(spans);
        }
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|of_resource| of_resource.scope_metrics);
        *self.metrics.lock().expect("no panic") = scopes.flat_map(|of_scope| of_scope.metrics).collect();
        *self.exports.lock().expect("no panic") += 1;
    }
}

/// The values of metrics, under the names that Prometheus has for them.
pub(crate) fn points(metrics: &[Metric]) -> Points {
    let mut points = Points::new();
    for metric in metrics {
        let unit = match metric.unit.as_str() {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let family = format!("{}{unit}", metric.name.replace('.', "_"));
        let (suffix, numbers) = match metric.data.as_ref().expect("points") {
            Data::Gauge(gauge) => ("", &gauge.data_points),
            Data::Sum(sum) => ("_total", &sum.data_points),
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    points.insert(format!("{family}_count{}", labels(&point.attributes)), whole(point.count));
                }
                continue;
            }
            other => panic!("an unexpected kind: {other:?}"),
        };
        for point in numbers {
            let value = match point.value.expect("a value") {
                number_data_point::Value::AsInt(count) => whole(u64::try_from(count).expect("no negative count")),
                number_data_point::Value::AsDouble(number) => number,
            };
            points.insert(format!("{family}{suffix}{}", labels(&point.attributes)), value);
        }
    }
    points
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn labels(attributes: &[KeyValue]) -> String {
    let labels = attributes.iter().map(|attribute| {
        let value = text(std::slice::from_ref(attribute), &attribute.key).expect("a text");
        format!("{}=\"{value}\"", attribute.key.replace('.', "_"))
    });
    let labels = labels.collect::<Vec<_>>().join(",");
    if labels.is_empty() { labels } else { format!("{{{labels}}}") }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.hang().await;
        self.take_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.hang().await;
        self.take_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Span {
    /// The text of an attribute.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }

    pub(crate) fn is(&self, name: &str, kind: SpanKind) -> bool {
        self.span.name == name && self.span.kind() == kind
    }

    pub(crate) fn is_in(&self, trace_id: u128) -> bool {
        self.span.trace_id == trace_id.to_be_bytes()
    }

    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }

    /// Whether the span is linked to another one.
    pub(crate) fn is_linked_to(&self, other: &Self) -> bool {
        let fits = |link: &otlp::span::Link| link.trace_id == other.span.trace_id && link.span_id == other.span.span_id;
        self.span.links.iter().any(fits)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        _ => None,
    }
}
