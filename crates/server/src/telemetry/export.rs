//! The queue of ended spans, and the task that exports them by OTLP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_back_off::BackOff;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
    },
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    config::{BatchConfig, TracesConfig},
    error::ServeError,
};

/// The waits between attempts to export the same spans.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Ended spans that wait for their export, at most as many as the configuration says.
pub(super) struct Queue {
    sender: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Queues a span, or drops and counts it where there is no room. Never waits.
    pub(super) fn push(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The spans that no receiver got.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A queue that nobody reads.
    #[cfg(test)]
    pub(super) fn unread(room: usize) -> Self {
        let (sender, receiver) = mpsc::channel(room);
        // Dropped, it would close the queue.
        std::mem::forget(receiver);
        Self { sender, dropped: Arc::default() }
    }
}

/// The task that exports.
pub(super) struct Exporter {
    task: JoinHandle<()>,
    /// Tells the task to end.
    ending: watch::Sender<bool>,
}

impl Exporter {
    /// Starts the task. The receiver does not have to be there yet.
    pub(super) fn start(
        config: &TracesConfig,
        resource: Vec<KeyValue>,
        runtime: &Handle,
    ) -> Result<(Queue, Self), ServeError> {
        let _in_runtime = runtime.enter();
        let mut client = TraceServiceClient::new(channel(config)?);
        if config.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let (sender, receiver) = mpsc::channel(config.batch.queue);
        let (ending, ends) = watch::channel(false);
        let dropped = Arc::<AtomicU64>::default();
        let export = Export {
            client,
            headers: MetadataMap::from_headers(config.headers.clone()),
            resource: Resource { attributes: resource, ..Resource::default() },
            batch: config.batch,
            dropped: Arc::clone(&dropped),
            failing: false,
            ends,
        };
        let task = runtime.spawn(export.run(receiver));
        Ok((Queue { sender, dropped }, Self { task, ending }))
    }

    /// Exports what waits, and ends the task, after `at_most`.
    pub(super) async fn stop(self, at_most: Duration) {
        let Self { mut task, ending } = self;
        let _ = ending.send(true);
        if timeout(at_most, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("spans dropped at the end of the time to drain");
        }
    }
}

fn channel(config: &TracesConfig) -> Result<Channel, ServeError> {
    let wrong = |error: tonic::transport::Error| ServeError::Telemetry(error.to_string());
    let mut endpoint = Endpoint::from(config.endpoint.clone()).connect_timeout(config.timeout).timeout(config.timeout);
    if config.endpoint.scheme_str() == Some("https") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_webpki_roots()).map_err(wrong)?;
    }
    Ok(endpoint.connect_lazy())
}

struct Export {
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
    resource: Resource,
    batch: BatchConfig,
    dropped: Arc<AtomicU64>,
    /// Whether the log says that exports fail.
    failing: bool,
    /// Turns true when the server ends.
    ends: watch::Receiver<bool>,
}

impl Export {
    /// Exports spans in batches until it is told to end, and then what still waits.
    async fn run(mut self, mut queue: mpsc::Receiver<Span>) {
        let mut ends = self.ends.clone();
        while !*ends.borrow() {
            let mut batch = Vec::with_capacity(self.batch.size);
            tokio::select! {
                biased;
                _ = ends.wait_for(|&ends| ends) => {}
                () = self.collect(&mut queue, &mut batch) => {}
            }
            self.export(batch).await;
        }
        queue.close();
        let mut batch = Vec::with_capacity(self.batch.size);
        while queue.recv_many(&mut batch, self.batch.size).await > 0 {
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    /// Waits for a whole batch, or for a span and the delay after it.
    async fn collect(&self, queue: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
        queue.recv_many(batch, self.batch.size).await;
        let until = Instant::now() + self.batch.delay;
        while batch.len() < self.batch.size {
            let room = self.batch.size - batch.len();
            if matches!(timeout_at(until, queue.recv_many(batch, room)).await, Err(_) | Ok(0)) {
                break;
            }
        }
    }

    /// Exports a batch, with several attempts while the receiver is away.
    async fn export(&mut self, batch: Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let scope = InstrumentationScope {
            name: "larder".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans { scope: Some(scope), spans: batch, ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        let of_resource = ResourceSpans { resource, scope_spans: vec![spans], ..ResourceSpans::default() };
        let message = ExportTraceServiceRequest { resource_spans: vec![of_resource] };
        let outcome = match timeout(self.batch.timeout, self.attempts(message)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Status::deadline_exceeded("no answer in time")),
        };
        let lost = match outcome {
            Ok(rejected) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("spans are exported again");
                }
                rejected.min(count)
            }
            Err(status) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(code = ?status.code(), error = status.message(), "spans cannot be exported");
                }
                count
            }
        };
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Returns how many spans the receiver rejected.
    #[expect(clippy::disallowed_methods, reason = "the length of a wait decides nothing")]
    async fn attempts(&mut self, message: ExportTraceServiceRequest) -> Result<u64, Status> {
        let mut back_off = BackOff::new(FIRST_WAIT, LAST_WAIT);
        loop {
            let request = Request::from_parts(self.headers.clone(), http::Extensions::new(), message.clone());
            match self.client.export(request).await {
                Ok(reply) => {
                    let partial: ExportTracePartialSuccess = reply.into_inner().partial_success.unwrap_or_default();
                    return Ok(u64::try_from(partial.rejected_spans).unwrap_or(0));
                }
                Err(status) if status.code() == Code::Unavailable && !*self.ends.borrow() => {
                    let wait = back_off.next(rand::random());
                    let _ = timeout(wait, self.ends.wait_for(|&ends| ends)).await;
                }
                Err(status) => return Err(status),
            }
        }
    }
}
