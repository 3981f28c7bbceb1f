//! A receiver of spans by OTLP over gRPC.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{self as otlp, span::SpanKind},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, codegen::Service as _};

use crate::harness::eventually;

/// A span, and the instance of the service that it came from.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) instance: String,
    pub(super) span: otlp::Span,
}

/// Receives spans until it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    /// Whether exports go unanswered.
    hangs: AtomicBool,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::listening(false).await
    }

    /// A receiver that takes exports and never answers.
    pub(super) async fn hanging() -> Self {
        Self::listening(true).await
    }

    async fn listening(hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Received { hangs: AtomicBool::new(hangs), ..Received::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&received)));
        Self { address, received, task }
    }

    /// All spans so far.
    pub(super) fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().expect("no panic").clone()
    }

    /// Waits until a span is there that fits, and returns it.
    pub(super) async fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || self.spans().iter().any(&fits)).await;
        self.spans().into_iter().find(fits).expect("it was there")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, received: Arc<Received>) {
    // Dropped with the task, so that a receiver that is gone has no connections either.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = TraceServiceServer::from_arc(Arc::clone(&received));
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let mut service = service.clone();
                async move { Ok::<_, Infallible>(service.call(request).await.unwrap_or_else(|never| match never {})) }
            });
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let instance = text(&attributes, "service.instance.id").unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            let spans = spans.map(|span| Span { instance: instance.clone(), span });
            self.spans.lock().expect("no panic").extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Span {
    /// The text of an attribute.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }

    pub(super) fn is(&self, name: &str, kind: SpanKind) -> bool {
        self.span.name == name && self.span.kind() == kind
    }

    pub(super) fn is_in(&self, trace_id: u128) -> bool {
        self.span.trace_id == trace_id.to_be_bytes()
    }

    pub(super) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }

    /// Whether the span is linked to another one.
    pub(super) fn is_linked_to(&self, other: &Self) -> bool {
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
