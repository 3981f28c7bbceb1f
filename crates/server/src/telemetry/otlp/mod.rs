//! The way of one signal to its receiver by OTLP (<https://opentelemetry.io/docs/specs/otlp/>).

mod grpc;
mod http;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_back_off::BackOff;
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::InstrumentationScope,
};
use prost::Message;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use self::{grpc::Grpc, http::Http};
use crate::{
    config::{Protocol, ReceiverConfig},
    error::ServeError,
};

/// The waits between attempts to export the same message.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A message that exports spans or points.
pub(crate) trait Signal: Message + Clone + 'static {
    /// The answer of the receiver.
    type Reply: Message + Default + 'static;
    /// What the message holds, for the log.
    const NAME: &'static str;
    /// The method of gRPC.
    const METHOD: &'static str;

    /// How many spans or points the receiver rejected.
    fn rejected(reply: Self::Reply) -> i64;
}

impl Signal for ExportTraceServiceRequest {
    type Reply = ExportTraceServiceResponse;
    const NAME: &'static str = "spans";
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn rejected(reply: Self::Reply) -> i64 {
        reply.partial_success.map_or(0, |partial| partial.rejected_spans)
    }
}

impl Signal for ExportMetricsServiceRequest {
    type Reply = ExportMetricsServiceResponse;
    const NAME: &'static str = "metrics";
    const METHOD: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    fn rejected(reply: Self::Reply) -> i64 {
        reply.partial_success.map_or(0, |partial| partial.rejected_data_points)
    }
}

/// Why an attempt failed.
#[derive(Debug)]
struct Failure {
    /// Whether another attempt may succeed.
    passing: bool,
    /// The code of gRPC or of HTTP.
    code: String,
    text: String,
}

impl Failure {
    /// Nobody answered.
    fn unreachable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { passing: true, code: "unreachable".to_owned(), text: error.into().to_string() }
    }

    /// No answer came in time.
    fn late() -> Self {
        Self { passing: false, code: "timeout".to_owned(), text: "no answer in time".to_owned() }
    }
}

enum Transport {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

/// The receiver of a signal.
pub(crate) struct Receiver {
    transport: Transport,
    /// How long an export may take with all attempts.
    at_most: Duration,
    dropped: Arc<AtomicU64>,
    /// Whether the log says that exports fail.
    failing: bool,
    /// Turns true when the server ends.
    ends: watch::Receiver<bool>,
}

impl Receiver {
    /// A receiver, which does not have to be there yet. What it does not take within `at_most` is added to `dropped`. Once `ends`
    /// is true, each message gets one attempt. Must be called on a runtime.
    pub(crate) fn new(
        config: &ReceiverConfig,
        at_most: Duration,
        dropped: Arc<AtomicU64>,
        ends: watch::Receiver<bool>,
    ) -> Result<Self, ServeError> {
        let transport = match config.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(config)?)),
            Protocol::Http => Transport::Http(Box::new(Http::new(config)?)),
        };
        Ok(Self { transport, at_most, dropped, failing: false, ends })
    }

    /// Exports a message of so many spans or points, with several attempts while the receiver is away.
    pub(crate) async fn export<S: Signal>(&mut self, message: S, count: u64) {
        let outcome = match timeout(self.at_most, self.attempts(message)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Failure::late()),
        };
        let lost = match outcome {
            Ok(rejected) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("{} are exported again", S::NAME);
                }
                rejected.min(count)
            }
            Err(Failure { code, text, .. }) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(code, error = text, "{} cannot be exported", S::NAME);
                }
                count
            }
        };
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Returns how many spans or points the receiver rejected.
    #[expect(clippy::disallowed_methods, reason = "the length of a wait decides nothing")]
    async fn attempts<S: Signal>(&mut self, message: S) -> Result<u64, Failure> {
        let mut back_off = BackOff::new(FIRST_WAIT, LAST_WAIT);
        loop {
            let attempt = match &mut self.transport {
                Transport::Grpc(grpc) => grpc.send(message.clone()).await,
                Transport::Http(http) => http.send(&message).await,
            };
            match attempt {
                Ok(reply) => return Ok(u64::try_from(S::rejected(reply)).unwrap_or(0)),
                Err(failure) if failure.passing && !self.ending() => {
                    tokio::select! {
                        _ = self.ends.wait_for(|&ends| ends) => {}
                        () = sleep(back_off.next(rand::random())) => {}
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether the server ends, or has gone.
    fn ending(&self) -> bool {
        *self.ends.borrow() || self.ends.has_changed().is_err()
    }
}

/// What names the maker of spans and points.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "larder".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
