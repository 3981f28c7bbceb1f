//! Metrics as text: OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>) and the older format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{
    fmt::{self, Write as _},
    time::UNIX_EPOCH,
};

use larder_cache::{BOUNDS, Distribution, Kind, Metric, Reading, Sample, Unit};

use super::families;

/// A format for Prometheus and what reads like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics, with units and exemplars.
    OpenMetrics,
    /// The text format 0.0.4, for those who do not ask for OpenMetrics.
    Text,
}

impl Format {
    /// The format that a client prefers.
    pub(super) fn preferred(accept: &str) -> Self {
        let quality = |wanted: &[&str]| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let qualities = ranges.filter_map(|mut parts| {
                wanted.contains(&parts.next()?.to_ascii_lowercase().as_str()).then_some(())?;
                let q = parts.find_map(|part| part.strip_prefix("q=")).map(|q| q.parse::<f32>().unwrap_or(0.0));
                Some(q.unwrap_or(1.0))
            });
            qualities.fold(0.0, f32::max)
        };
        let open_metrics = quality(&["application/openmetrics-text"]);
        let text = quality(&["text/plain"]);
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// What `Content-Type` says of it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes samples, grouped by their metrics.
pub(super) fn write(samples: &[Sample], format: Format) -> String {
    let mut text = String::with_capacity(64 << 10);
    for (metric, series) in families(samples) {
        // Writing into a string does not fail.
        let _ = family(&mut text, metric, &series, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn family(text: &mut String, metric: &Metric, series: &[Sample], format: Format) -> fmt::Result {
    let family = metric.family();
    let (kind, suffix) = match metric.kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram => ("histogram", ""),
    };
    // OpenMetrics names the family, the older format what is counted.
    let named = if format == Format::OpenMetrics { "" } else { suffix };
    writeln!(text, "# HELP {family}{named} {}.", metric.help)?;
    writeln!(text, "# TYPE {family}{named} {kind}")?;
    match (format, metric.unit) {
        (Format::Text, _) | (_, Unit::One) => {}
        (Format::OpenMetrics, Unit::Seconds) => writeln!(text, "# UNIT {family} seconds")?,
        (Format::OpenMetrics, Unit::Bytes) => writeln!(text, "# UNIT {family} bytes")?,
    }
    for sample in series {
        let labels = labels(sample);
        match &sample.reading {
            Reading::Count(count) => writeln!(text, "{family}{suffix}{} {count}", braced(&labels))?,
            Reading::Number(number) => writeln!(text, "{family}{suffix}{} {}", braced(&labels), Float(*number))?,
            Reading::Histogram(read) => histogram(text, &family, &labels, read, format)?,
        }
    }
    Ok(())
}

fn histogram(text: &mut String, family: &str, labels: &str, read: &Distribution, format: Format) -> fmt::Result {
    let comma = if labels.is_empty() { "" } else { "," };
    let bounds = BOUNDS.iter().map(|&nanos| seconds(nanos)).chain([f64::INFINITY]);
    for (bucket, (bound, count)) in bounds.zip(read.up_to.iter().chain([&read.count])).enumerate() {
        write!(text, "{family}_bucket{{{labels}{comma}le=\"{}\"}} {count}", Float(bound))?;
        if let (Format::OpenMetrics, Some(Some(exemplar))) = (format, read.exemplars.get(bucket)) {
            let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            write!(text, " # {{trace_id=\"{:032x}\"}} {} {at:.3}", exemplar.trace_id, Float(exemplar.seconds))?;
        }
        text.push('\n');
    }
    writeln!(text, "{family}_sum{} {}", braced(labels), Float(read.sum))?;
    writeln!(text, "{family}_count{} {}", braced(labels), read.count)
}

/// The labels of a sample without their braces.
fn labels(sample: &Sample) -> String {
    let mut text = String::new();
    for (label, value) in sample.metric.labels.iter().zip(&sample.labels) {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{comma}{}=\"{value}\"", label.name);
    }
    text
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

#[expect(clippy::cast_precision_loss, reason = "the bounds are round")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A number in the canonical form of OpenMetrics: `1.0`, `+Inf`.
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY { f.write_str("+Inf") } else { write!(f, "{:?}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use larder_cache::Exemplar;

    use super::*;
    use crate::metrics::table::{CALL_DURATION, PROCESS_CPU, PROCESS_MAX_FDS, WEBHOOK_EVENTS};

    #[test]
    fn a_client_gets_what_it_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0, text/plain", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.2", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            (prometheus, Format::OpenMetrics),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }

    #[test]
    fn both_formats_say_the_same_in_their_own_way() {
        let exemplar = Exemplar { trace_id: 10, seconds: 0.5, at: UNIX_EPOCH + Duration::from_millis(1_500) };
        let mut read = Distribution { up_to: vec![0; 16], count: 2, sum: 20.5, exemplars: vec![None; 17] };
        read.up_to[11..].fill(1);
        read.exemplars[11] = Some(exemplar);
        let samples = [
            WEBHOOK_EVENTS.count(["refused"], 2),
            CALL_DURATION.sample(["grpc", "s/\"M\"", "OK"], Reading::Histogram(read)),
            WEBHOOK_EVENTS.count(["refused"], 3),
            PROCESS_CPU.number([], 3.0),
            PROCESS_MAX_FDS.count([], 7),
        ];
        let open_metrics = write(&samples, Format::OpenMetrics);
        for lines in [
            "# TYPE rpc_server_call_duration_seconds histogram\n# UNIT rpc_server_call_duration_seconds seconds\n",
            "rpc_response_status_code=\"OK\",le=\"0.25\"} 0\n",
            "rpc_method=\"s/\\\"M\\\"\",rpc_response_status_code=\"OK\",le=\"0.5\"} 1 \
             # {trace_id=\"0000000000000000000000000000000a\"} 0.5 1.500\n",
            "rpc_response_status_code=\"OK\",le=\"+Inf\"} 2\n",
            "rpc_response_status_code=\"OK\"} 20.5\n",
            "# TYPE larder_webhook_events counter\nlarder_webhook_events_total{outcome=\"refused\"} 5\n",
            "# UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total 3.0\n",
            "process_max_fds 7\n# EOF\n",
        ] {
            assert!(open_metrics.contains(lines), "{lines}\n{open_metrics}");
        }
        let text = write(&samples, Format::Text);
        assert!(!text.contains("# UNIT") && !text.contains("trace_id") && !text.contains("# EOF"), "{text}");
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 3.0\n"), "{text}");
    }
}
