//! The export of metrics by OTLP, now and then and at the end.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Metrics,
    otlp::{Times, metrics, points},
};
use crate::{
    config::TelemetryConfig,
    error::ServeError,
    telemetry::{
        now_nanos,
        otlp::{Receiver, scope},
        resource,
    },
};

/// The task that exports metrics. There is one message at a time: what a receiver does not take is dropped, and the next message
/// has the same counters again.
pub(crate) struct MetricsExport {
    task: JoinHandle<()>,
    /// Tells the task to end.
    ending: watch::Sender<bool>,
}

impl MetricsExport {
    /// Starts the task, if the configuration names a receiver. `instance` names this replica. Must be called on a runtime.
    pub(crate) fn start(
        config: &TelemetryConfig,
        instance: u64,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ServeError> {
        let Some(exported) = &config.metrics else { return Ok(None) };
        let (ending, ends) = watch::channel(false);
        let dropped: Arc<AtomicU64> = Arc::clone(&metrics.points_dropped);
        let receiver = Receiver::new(&exported.receiver, exported.timeout, dropped, ends.clone())?;
        let resource = resource(config, instance);
        let export = Export { metrics, receiver, resource, start: now_nanos() };
        let task = tokio::spawn(export.run(exported.interval, ends));
        Ok(Some(Self { task, ending }))
    }

    /// Exports the last figures, and ends the task, after `at_most`.
    pub(crate) async fn stop(self, at_most: Duration) {
        let Self { mut task, ending } = self;
        let _ = ending.send(true);
        if timeout(at_most, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("metrics dropped at the end of the time to drain");
        }
    }
}

struct Export {
    metrics: Arc<Metrics>,
    receiver: Receiver,
    resource: Resource,
    /// When the counters began.
    start: u64,
}

impl Export {
    /// Exports at every interval until it is told to end, at which it exports once more.
    async fn run(mut self, every: Duration, mut ends: watch::Receiver<bool>) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when there is nothing to tell yet.
        ticks.tick().await;
        loop {
            let ending = tokio::select! {
                biased;
                _ = ends.wait_for(|&ends| ends) => true,
                _ = ticks.tick() => false,
            };
            self.export().await;
            if ending {
                return;
            }
        }
    }

    async fn export(&mut self) {
        let samples = self.metrics.samples().await;
        let metrics = metrics(&samples, Times { start: self.start, now: now_nanos() });
        let count = points(&metrics);
        let metrics = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
        let resource = Some(self.resource.clone());
        let of_resource = ResourceMetrics { resource, scope_metrics: vec![metrics], ..ResourceMetrics::default() };
        self.receiver.export(ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }, count).await;
    }
}
