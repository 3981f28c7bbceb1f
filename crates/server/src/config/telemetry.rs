//! What an operator decides about traces and exported metrics.

use std::time::Duration;

use http::{HeaderMap, Uri};

/// What the server tells of its calls. By [`Default`] no span leaves it.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// The receiver of spans, and which spans it gets; `None`: there are no traces.
    pub traces: Option<TracesConfig>,
    /// The receiver of metrics by OTLP; `None`: metrics are there only for those who ask at `/metrics`.
    pub metrics: Option<MetricsConfig>,
    /// The attributes of this service, such as its name, for both receivers.
    pub resource: Vec<(String, String)>,
    /// Whether spans may name the keys of copies.
    pub trace_keys: bool,
    /// The members of the caller's baggage that become attributes of spans.
    pub trace_baggage: Vec<String>,
    /// A call that takes longer is logged; `None`: none is.
    pub slow_call: Option<Duration>,
}

/// Where a signal goes. The standard variables `OTEL_*` decide it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverConfig {
    /// The receiver. Over HTTP, this is the whole URL.
    pub endpoint: Uri,
    /// The form of OTLP that the receiver speaks.
    pub protocol: Protocol,
    /// The headers of every export; their values are secret.
    pub headers: HeaderMap,
    /// Whether exports are compressed with gzip.
    pub gzip: bool,
    /// How long one attempt to export may take.
    pub timeout: Duration,
    /// The authorities that may sign the certificate of the receiver, in PEM; `None`: those of the web.
    pub authorities: Option<Vec<u8>>,
}

/// The forms of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// Where spans go, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The receiver.
    pub receiver: ReceiverConfig,
    /// Which calls are traced.
    pub sampler: Sampler,
    /// How spans are collected.
    pub batch: BatchConfig,
}

/// Where metrics go, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsConfig {
    /// The receiver.
    pub receiver: ReceiverConfig,
    /// The time from one export to the next.
    pub interval: Duration,
    /// How long an export may take with all attempts. Then its points are dropped.
    pub timeout: Duration,
}

/// Which calls are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether the caller's decision counts where there is one.
    pub parent_based: bool,
    /// The share of the other calls.
    pub ratio: f64,
}

/// How spans are collected. The defaults are those of the OpenTelemetry specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// Spans that may wait; further ones are dropped.
    pub queue: usize,
    /// The most spans of one export; at most the queue.
    pub size: usize,
    /// How long spans wait for others.
    pub delay: Duration,
    /// How long an export may take with all attempts. Then its spans are dropped.
    pub timeout: Duration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            traces: None,
            metrics: None,
            resource: vec![("service.name".to_owned(), "larder".to_owned())],
            trace_keys: false,
            trace_baggage: Vec::new(),
            slow_call: Some(Duration::from_secs(1)),
        }
    }
}

impl ReceiverConfig {
    /// A receiver by the defaults of the specification, which speaks gRPC.
    pub fn new(endpoint: Uri) -> Self {
        Self {
            endpoint,
            protocol: Protocol::default(),
            headers: HeaderMap::new(),
            gzip: false,
            timeout: Duration::from_secs(10),
            authorities: None,
        }
    }
}

impl TracesConfig {
    /// Traces every call that its caller did not decide about, by the defaults of the specification.
    pub fn new(receiver: ReceiverConfig) -> Self {
        Self { receiver, sampler: Sampler::default(), batch: BatchConfig::default() }
    }
}

impl MetricsConfig {
    /// Exports metrics by the defaults of the specification.
    pub fn new(receiver: ReceiverConfig) -> Self {
        Self { receiver, interval: Duration::from_mins(1), timeout: Duration::from_secs(30) }
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self { parent_based: true, ratio: 1.0 }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { queue: 2_048, size: 512, delay: Duration::from_secs(5), timeout: Duration::from_secs(30) }
    }
}
