//! The metrics of a replica: one [table](table), read when somebody asks.
//!
//! Nothing here counts by itself, except [calls]: the figures are those of the cache, of the connection pools and of the system.
//! They are [text] for whoever asks, and messages of [OTLP](otlp) for a receiver.

mod calls;
mod durations;
mod export;
#[cfg(test)]
mod markdown;
mod otlp;
mod process;
mod redis;
mod table;
mod text;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, routing::get};
use http::{
    HeaderMap,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY},
};
use larder_cache::{Metric, Reading, Sample};
use larder_storage::{Pool, ProductRepository as _};
use tokio::{runtime::Handle, sync::watch};

pub use self::calls::Calls;
pub(crate) use self::{calls::Measured, export::MetricsExport};
use self::{redis::RedisFacts, text::Format};
use crate::{
    app::Security,
    auth::Gate,
    catalog::Catalog,
    events::EventCounts,
    grpc::{Admission, Observers},
    net::Handshakes,
    telemetry::Tracer,
};

/// Where the figures of a replica are read.
pub(crate) struct Metrics {
    catalog: Catalog,
    pub(crate) calls: Arc<Calls>,
    pub(crate) events: Arc<EventCounts>,
    pub(crate) changelog_rows: Arc<ChangelogRows>,
    gate: Arc<Gate>,
    handshakes: Arc<Handshakes>,
    admission: Arc<Admission>,
    ready: watch::Receiver<bool>,
    redis: RedisFacts,
    /// `None` where no span leaves the server.
    tracer: Option<Arc<Tracer>>,
    /// The points that no receiver of OTLP took.
    points_dropped: Arc<AtomicU64>,
    /// The runtime of loads and writes.
    runtime: Handle,
}

/// The rows of the change log when they were last counted.
#[derive(Debug)]
pub(crate) struct ChangelogRows(AtomicU64);

/// Says that the rows were not counted yet.
const UNKNOWN: u64 = u64::MAX;

impl Metrics {
    /// The metrics of a replica that begins. Must be called on the runtime of loads and writes.
    pub(crate) fn new(
        catalog: Catalog,
        observers: &Observers,
        security: &Security,
        admission: Arc<Admission>,
        ready: watch::Receiver<bool>,
    ) -> Self {
        Self {
            catalog,
            gate: Arc::clone(security.gate()),
            handshakes: Arc::clone(security.handshakes()),
            admission,
            calls: Arc::clone(&observers.calls),
            redis: RedisFacts::default(),
            tracer: observers.tracer.clone(),
            points_dropped: Arc::default(),
            events: Arc::default(),
            changelog_rows: Arc::default(),
            ready,
            runtime: Handle::current(),
        }
    }

    /// Answers `GET /metrics`.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        let metrics = Arc::clone(self);
        let answer = async move |headers: HeaderMap| {
            let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
            let format = Format::preferred(&accept.join(","));
            let headers = [(CONTENT_TYPE, format.content_type()), (CACHE_CONTROL, "no-store"), (VARY, "accept")];
            (headers, text::write(&metrics.samples().await, format))
        };
        Router::new().route("/metrics", get(answer))
    }

    /// Reads every figure.
    async fn samples(&self) -> Vec<Sample> {
        let mut samples = self.redis.samples(&self.catalog).await;
        samples.extend(self.calls.samples());
        let refused = self.gate.refused().chain(self.admission.refused());
        samples.extend(refused.map(|(reason, count)| table::CALLS_REFUSED.count([reason], count)));
        samples.extend(self.gate.lost_records().map(|lost| table::AUDIT_LOST.count([], lost)));
        samples.extend(self.handshakes.counts().map(|(outcome, count)| table::TLS_HANDSHAKES.count([outcome], count)));
        samples.extend(self.catalog.cache().samples());
        for Pool { name, idle, used, most } in self.catalog.repository().pools() {
            samples.extend([
                table::CONNECTIONS.count([name, "idle"], idle),
                table::CONNECTIONS.count([name, "used"], used),
                table::MAX_CONNECTIONS.count([name], most),
            ]);
        }
        samples.extend(self.changelog_rows.get().map(|rows| table::CHANGELOG_ROWS.count([], rows)));
        for (outcome, count) in self.events.webhooks() {
            samples.push(table::WEBHOOK_EVENTS.count([outcome], count));
        }
        for (outcome, count) in self.events.queue() {
            samples.push(table::QUEUE_EVENTS.count([outcome], count));
        }
        let runtime = self.runtime.metrics();
        samples.extend([
            table::READY.flag(*self.ready.borrow()),
            table::BUILD_INFO.count([table::VERSION], 1),
            table::TELEMETRY_DROPPED.count(["traces"], self.tracer.as_ref().map_or(0, |tracer| tracer.dropped())),
            table::TELEMETRY_DROPPED.count(["metrics"], self.points_dropped.load(Ordering::Relaxed)),
            table::RUNTIME_WORKERS.count([], runtime.num_workers() as u64),
            table::RUNTIME_ALIVE_TASKS.count([], runtime.num_alive_tasks() as u64),
            table::RUNTIME_QUEUE_DEPTH.count([], runtime.global_queue_depth() as u64),
        ]);
        samples.extend(process::samples());
        samples
    }
}

/// Samples by their metrics, in the order of the table. Counts of one series add up.
fn families(samples: &[Sample]) -> impl Iterator<Item = (&'static Metric, Vec<Sample>)> {
    let metrics = table::SECTIONS.iter().flat_map(|section| section.metrics.iter().copied());
    metrics.map(|metric| (metric, series(metric, samples))).filter(|(_, series)| !series.is_empty())
}

fn series(metric: &Metric, samples: &[Sample]) -> Vec<Sample> {
    let mut series: Vec<Sample> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.metric.name == metric.name) {
        let same = series.iter_mut().find(|other| other.labels == sample.labels);
        match (same.map(|same| &mut same.reading), &sample.reading) {
            (Some(Reading::Count(sum)), Reading::Count(count)) => *sum += count,
            (Some(_), _) => debug_assert!(false, "two readings of a series of {}", metric.name),
            (None, _) => series.push(sample.clone()),
        }
    }
    series
}

impl ChangelogRows {
    pub(crate) fn set(&self, rows: u64) {
        self.0.store(rows, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&rows| rows != UNKNOWN)
    }
}

impl Default for ChangelogRows {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}
