//! The vocabulary of metrics: what a figure is called, what it means, and one reading of it.

use std::time::SystemTime;

/// A metric. Its name follows OpenMetrics: base units, with neither the unit nor `_total` in [`Metric::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name, without the unit and without `_total`.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What it means, in sentences without the last full stop.
    pub help: &'static str,
}

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Events since the start.
    Counter,
    /// A value now.
    Gauge,
    /// The distribution of durations since the start.
    Histogram,
}

/// What a metric is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events or things.
    One,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A label. Its values are few and known: none is text of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The name.
    pub name: &'static str,
    /// Its values; empty for methods, status codes and the pools of a database.
    pub values: &'static [&'static str],
}

/// One reading of one series of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric.
    pub metric: &'static Metric,
    /// The values of its labels, in their order.
    pub labels: Vec<&'static str>,
    /// What was read.
    pub reading: Reading,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// A distribution.
    Histogram(Distribution),
}

/// Durations in buckets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    /// How many durations were recorded up to each of [`BOUNDS`].
    pub up_to: Vec<u64>,
    /// How many durations were recorded.
    pub count: u64,
    /// The sum of the durations in seconds.
    pub sum: f64,
    /// The last traced duration of each bucket, and of those above the last bound.
    pub exemplars: Vec<Option<Exemplar>>,
}

/// A recorded duration with the trace that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: u128,
    /// The duration in seconds.
    pub seconds: f64,
    /// When it was recorded.
    pub at: SystemTime,
}

/// The upper bounds of the buckets in nanoseconds: from 100 µs to 10 s, three to a power of ten.
pub const BOUNDS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

impl Metric {
    /// A count of events.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit: Unit::One, labels: &[], help }
    }

    /// A value now.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, help) }
    }

    /// A distribution of durations.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { kind: Kind::Histogram, unit: Unit::Seconds, ..Self::counter(name, help) }
    }

    /// With series told apart by labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// Measured in a unit.
    #[must_use]
    pub const fn in_unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// The name of the family in OpenMetrics, which has the unit.
    pub fn family(&self) -> String {
        let unit = match self.unit {
            Unit::One => return self.name.to_owned(),
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        };
        format!("{}_{unit}", self.name)
    }

    /// A reading of a count.
    pub fn count(&'static self, labels: impl Into<Vec<&'static str>>, count: u64) -> Sample {
        self.sample(labels, Reading::Count(count))
    }

    /// A reading of a number.
    pub fn number(&'static self, labels: impl Into<Vec<&'static str>>, number: f64) -> Sample {
        self.sample(labels, Reading::Number(number))
    }

    /// A reading of whether something is so: 1 or 0.
    pub fn flag(&'static self, flag: bool) -> Sample {
        self.count([], u64::from(flag))
    }

    /// A reading.
    pub fn sample(&'static self, labels: impl Into<Vec<&'static str>>, reading: Reading) -> Sample {
        let labels = labels.into();
        debug_assert_eq!(labels.len(), self.labels.len(), "the labels of {}", self.name);
        Sample { metric: self, labels, reading }
    }
}

impl Label {
    /// A label with its values.
    pub const fn new(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values }
    }
}
