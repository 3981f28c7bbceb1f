//! Metrics in the form of OTLP (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/>).

use std::time::{SystemTime, UNIX_EPOCH};

use larder_cache::{BOUNDS, Distribution, Exemplar, Kind, Metric, Reading, Sample, Unit, trace::Note};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        self as otlp, AggregationTemporality, Gauge, Histogram, HistogramDataPoint, NumberDataPoint, Sum, exemplar,
        metric::Data, number_data_point,
    },
};

use super::{families, table::REDIS_METRICS};
use crate::telemetry::attribute;

/// The time that points are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When the counters began.
    pub(super) start: u64,
    pub(super) now: u64,
}

/// The names of the semantic conventions. Prometheus does not take their dots; the table of metrics has the names of Prometheus.
const CONVENTIONS: [&str; 10] = [
    "rpc.server.call.duration",
    "rpc.system.name",
    "rpc.method",
    "rpc.response.status_code",
    "db.client.operation.duration",
    "db.system.name",
    "db.client.connections",
    "db.client.connection.max",
    "db.client.connection.pool.name",
    "db.client.connection.state",
];

/// The metrics that samples are of. A receiver that turns the names into those of Prometheus arrives at the names of `/metrics`.
pub(super) fn metrics(samples: &[Sample], times: Times) -> Vec<otlp::Metric> {
    families(samples).map(|(metric, series)| of_metric(metric, &series, times)).collect()
}

/// How many points metrics have.
pub(super) fn points(metrics: &[otlp::Metric]) -> u64 {
    let points = metrics.iter().map(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    });
    points.sum::<usize>() as u64
}

fn of_metric(metric: &Metric, series: &[Sample], times: Times) -> otlp::Metric {
    // The counters of Redis began at a time of their own.
    let own = REDIS_METRICS.iter().any(|redis| redis.name == metric.name);
    let times = Times { start: if own { 0 } else { times.start }, ..times };
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || series.iter().filter_map(|sample| number(sample, times)).collect();
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: series.iter().filter_map(|sample| histogram(sample, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    let unit = match metric.unit {
        Unit::One => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
    };
    otlp::Metric {
        name: conventional(metric.name).to_owned(),
        description: format!("{}.", metric.help),
        unit: unit.to_owned(),
        data: Some(data),
        ..otlp::Metric::default()
    }
}

fn number(sample: &Sample, times: Times) -> Option<NumberDataPoint> {
    let value = match &sample.reading {
        Reading::Count(count) => number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Reading::Number(number) => number_data_point::Value::AsDouble(*number),
        Reading::Histogram(_) => return None,
    };
    // A gauge has no start.
    let start_time_unix_nano = if sample.metric.kind == Kind::Gauge { 0 } else { times.start };
    Some(NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(sample: &Sample, times: Times) -> Option<HistogramDataPoint> {
    let Reading::Histogram(Distribution { up_to, count, sum, exemplars }) = &sample.reading else { return None };
    let ends = up_to.iter().chain([count]);
    let starts = std::iter::once(&0).chain(up_to);
    Some(HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: *count,
        sum: Some(*sum),
        bucket_counts: ends.zip(starts).map(|(end, start)| end.saturating_sub(*start)).collect(),
        #[expect(clippy::cast_precision_loss, reason = "the bounds are round")]
        explicit_bounds: BOUNDS.iter().map(|&nanos| nanos as f64 / 1e9).collect(),
        exemplars: exemplars.iter().flatten().map(traced).collect(),
        ..HistogramDataPoint::default()
    })
}

fn traced(exemplar: &Exemplar) -> otlp::Exemplar {
    otlp::Exemplar {
        time_unix_nano: nanos(exemplar.at),
        trace_id: exemplar.trace_id.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.seconds)),
        ..otlp::Exemplar::default()
    }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    let labels = sample.metric.labels.iter().zip(&sample.labels);
    labels.map(|(label, value)| attribute(conventional(label.name), Note::Text(value))).collect()
}

/// The name by the semantic conventions, if they have one.
fn conventional(name: &'static str) -> &'static str {
    CONVENTIONS.into_iter().find(|convention| convention.replace('.', "_") == name).unwrap_or(name)
}

fn nanos(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::table::{CALL_DURATION, READY, REDIS_COMMANDS, SECTIONS, WEBHOOK_EVENTS};

    const TIMES: Times = Times { start: 1, now: 2 };

    #[test]
    fn every_conventional_name_is_translated() {
        let metrics = SECTIONS.iter().flat_map(|section| section.metrics);
        let names = metrics.flat_map(|metric| {
            let labels = metric.labels.iter().map(|label| label.name);
            labels.chain([metric.name])
        });
        for name in names.filter(|name| name.starts_with("rpc_") || name.starts_with("db_")) {
            assert!(conventional(name).contains('.'), "{name}");
        }
        assert_eq!(conventional("larder_ready"), "larder_ready");
    }

    #[test]
    fn counters_and_gauges_are_points() {
        let samples = [
            WEBHOOK_EVENTS.count(["refused"], 2),
            WEBHOOK_EVENTS.count(["refused"], 3),
            READY.count([], 1),
            REDIS_COMMANDS.count([], 7),
        ];
        let metrics = metrics(&samples, TIMES);
        assert_eq!(points(&metrics), 3, "counts of one series add up");
        let of = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
        let point = |attributes: &[(&str, &str)], start_time_unix_nano, number| NumberDataPoint {
            attributes: attributes.iter().map(|(name, value)| attribute(name, Note::Text(value))).collect(),
            start_time_unix_nano,
            time_unix_nano: 2,
            value: Some(number_data_point::Value::AsInt(number)),
            ..NumberDataPoint::default()
        };
        let sum = |point| {
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            Data::Sum(Sum { data_points: vec![point], aggregation_temporality, is_monotonic: true })
        };
        assert_eq!(of("larder_webhook_events"), sum(point(&[("outcome", "refused")], 1, 5)));
        assert_eq!(of("larder_redis_commands"), sum(point(&[], 0, 7)));
        assert_eq!(of("larder_ready"), Data::Gauge(Gauge { data_points: vec![point(&[], 0, 1)] }));
    }

    #[test]
    fn a_histogram_has_buckets_of_its_own_and_exemplars() {
        let exemplar = Exemplar { trace_id: 10, seconds: 0.5, at: UNIX_EPOCH + Duration::from_nanos(7) };
        let mut read = Distribution { up_to: vec![0; 16], count: 5, sum: 20.5, exemplars: vec![None; 17] };
        read.up_to[11..].fill(3);
        read.exemplars[11] = Some(exemplar);
        let metrics = metrics(&[CALL_DURATION.sample(["grpc", "s/M", "OK"], Reading::Histogram(read))], TIMES);
        let [metric] = &metrics[..] else { panic!("{metrics:?}") };
        assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("rpc.server.call.duration", "s"));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        let keys: Vec<_> = point.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys, ["rpc.system.name", "rpc.method", "rpc.response.status_code"]);
        assert_eq!((point.explicit_bounds.len(), point.explicit_bounds[11]), (16, 0.5));
        let mut buckets = [0; 17];
        (buckets[11], buckets[16]) = (3, 2);
        assert_eq!((point.bucket_counts.as_slice(), point.count, point.sum), (&buckets[..], 5, Some(20.5)));
        let exemplar = &point.exemplars[0];
        assert_eq!((exemplar.time_unix_nano, exemplar.trace_id.as_slice()), (7, &10_u128.to_be_bytes()[..]));
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(0.5)));
    }
}
