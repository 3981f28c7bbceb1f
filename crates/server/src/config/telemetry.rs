//! What an operator decides about traces.

use std::time::Duration;

use http::{HeaderMap, Uri};

/// What the server tells of its calls. By [`Default`] no span leaves it.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// The receiver of spans, and which spans it gets; `None`: there are no traces.
    pub traces: Option<TracesConfig>,
    /// Whether spans may name the keys of copies.
    pub trace_keys: bool,
    /// The members of the caller's baggage that become attributes of spans.
    pub trace_baggage: Vec<String>,
    /// A call that takes longer is logged; `None`: none is.
    pub slow_call: Option<Duration>,
}

/// Where spans go, and which. The standard variables `OTEL_*` decide it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The receiver, which speaks OTLP over gRPC.
    pub endpoint: Uri,
    /// The headers of every export; their values are secret.
    pub headers: HeaderMap,
    /// Whether exports are compressed with gzip.
    pub gzip: bool,
    /// How long one attempt to export may take.
    pub timeout: Duration,
    /// Which calls are traced.
    pub sampler: Sampler,
    /// The attributes of this service, such as its name.
    pub resource: Vec<(String, String)>,
    /// How spans are collected.
    pub batch: BatchConfig,
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
        Self { traces: None, trace_keys: false, trace_baggage: Vec::new(), slow_call: Some(Duration::from_secs(1)) }
    }
}

impl TracesConfig {
    /// Traces every call that its caller did not decide about, by the defaults of the specification.
    pub fn new(endpoint: Uri) -> Self {
        Self {
            endpoint,
            headers: HeaderMap::new(),
            gzip: false,
            timeout: Duration::from_secs(10),
            sampler: Sampler::default(),
            resource: vec![("service.name".to_owned(), "larder".to_owned())],
            batch: BatchConfig::default(),
        }
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
