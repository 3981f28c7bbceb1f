//! The queue of ended spans, and the task that exports them by OTLP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::otlp::{Receiver, scope};
use crate::{
    config::{BatchConfig, TracesConfig},
    error::ServeError,
};

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
        resource: Resource,
        runtime: &Handle,
    ) -> Result<(Queue, Self), ServeError> {
        let _in_runtime = runtime.enter();
        let (sender, spans) = mpsc::channel(config.batch.queue);
        let (ending, ends) = watch::channel(false);
        let dropped = Arc::<AtomicU64>::default();
        let receiver = Receiver::new(&config.receiver, config.batch.timeout, Arc::clone(&dropped), ends.clone())?;
        let export = Export { receiver, resource, batch: config.batch, ends };
        let task = runtime.spawn(export.run(spans));
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

struct Export {
    receiver: Receiver,
    resource: Resource,
    batch: BatchConfig,
    /// Turns true when the server ends.
    ends: watch::Receiver<bool>,
}

impl Export {
    /// Exports spans in batches until it is told to end, and then what still waits.
    async fn run(mut self, mut queue: mpsc::Receiver<Span>) {
        let mut ends = self.ends.clone();
        loop {
            let mut batch = Vec::with_capacity(self.batch.size);
            let ending = tokio::select! {
                biased;
                _ = ends.wait_for(|&ends| ends) => true,
                () = self.collect(&mut queue, &mut batch) => false,
            };
            self.export(batch).await;
            if ending {
                break;
            }
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

    async fn export(&mut self, batch: Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let spans = ScopeSpans { scope: Some(scope()), spans: batch, ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        let of_resource = ResourceSpans { resource, scope_spans: vec![spans], ..ResourceSpans::default() };
        self.receiver.export(ExportTraceServiceRequest { resource_spans: vec![of_resource] }, count).await;
    }
}
