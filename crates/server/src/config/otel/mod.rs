//! The standard variables of OpenTelemetry, by its specification ("Environment Variable Specification", "OpenTelemetry Protocol
//! Exporter"). They stand beside the table of settings, because other programs share their names.

mod values;

#[cfg(test)]
mod tests;

pub(crate) use self::values::decoded;
use self::values::{
    Named, attributes, authorities, compression, endpoint_below, exporter, grpc_endpoint, headers, interval, millis,
    protocol, sampler, url,
};
use super::{
    BatchConfig, ConfigError, Invalid, MetricsConfig, Origin, Protocol, ReceiverConfig, Sampler, Sources,
    TelemetryConfig, TracesConfig,
    value::{boolean, count, number_in},
};

/// The variables of a signal. Of a pair, the first counts; the second is the one of all signals.
struct Signal {
    /// Whether the signal is exported.
    exporter: &'static str,
    endpoint: [&'static str; 2],
    protocol: [&'static str; 2],
    headers: [&'static str; 2],
    timeout: [&'static str; 2],
    compression: [&'static str; 2],
    certificate: [&'static str; 2],
    /// The certificates of this client.
    unsupported: [&'static str; 4],
    /// Where the signal goes below an endpoint of all signals.
    path: &'static str,
}

macro_rules! signal {
    ($name:literal, $path:literal) => {
        Signal {
            exporter: concat!("OTEL_", $name, "_EXPORTER"),
            endpoint: pair!($name, "ENDPOINT"),
            protocol: pair!($name, "PROTOCOL"),
            headers: pair!($name, "HEADERS"),
            timeout: pair!($name, "TIMEOUT"),
            compression: pair!($name, "COMPRESSION"),
            certificate: pair!($name, "CERTIFICATE"),
            unsupported: [
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_KEY"),
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_CERTIFICATE"),
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            ],
            path: $path,
        }
    };
}

macro_rules! pair {
    ($signal:literal, $what:literal) => {
        [concat!("OTEL_EXPORTER_OTLP_", $signal, "_", $what), concat!("OTEL_EXPORTER_OTLP_", $what)]
    };
}

const TRACES: Signal = signal!("TRACES", "v1/traces");
const METRICS: Signal = signal!("METRICS", "v1/metrics");
/// The most attributes of the service.
const MOST_ATTRIBUTES: usize = 64;
const UNSUPPORTED_HINT: &str = "unset it, and export to a collector nearby, which can do that";

/// Reads where spans and metrics go. A signal without an endpoint, or that is switched off, goes nowhere. A variable that has no
/// effect is not judged.
pub(super) fn exports(sources: &Sources, telemetry: &mut TelemetryConfig, errors: &mut Vec<ConfigError>) {
    let mut reader = Reader { sources, errors };
    if reader.read(&["OTEL_SDK_DISABLED"], boolean).unwrap_or(false) {
        return;
    }
    telemetry.traces = reader.receiver(&TRACES).map(|receiver| TracesConfig {
        receiver,
        sampler: reader.sampler(),
        batch: reader.batch(),
    });
    telemetry.metrics = reader.receiver(&METRICS).map(|receiver| {
        let defaults = MetricsConfig::new(receiver);
        MetricsConfig {
            interval: reader.read(&["OTEL_METRIC_EXPORT_INTERVAL"], interval).unwrap_or(defaults.interval),
            timeout: reader.read(&["OTEL_METRIC_EXPORT_TIMEOUT"], millis).unwrap_or(defaults.timeout),
            ..defaults
        }
    });
    if telemetry.traces.is_some() || telemetry.metrics.is_some() {
        telemetry.resource = reader.resource(std::mem::take(&mut telemetry.resource));
    }
}

struct Reader<'a> {
    sources: &'a Sources,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    /// Where a signal goes, if anywhere.
    fn receiver(&mut self, signal: &Signal) -> Option<ReceiverConfig> {
        if !self.read(&[signal.exporter], exporter).unwrap_or(true) {
            return None;
        }
        let (named, _) = self.given(&signal.endpoint)?;
        let protocol = self.read(&signal.protocol, protocol).unwrap_or_default();
        let endpoint = self.read(&signal.endpoint, |text| match protocol {
            Protocol::Grpc => grpc_endpoint(text),
            // The endpoint of one signal is taken as it is.
            Protocol::Http if named == signal.endpoint[0] => url(text),
            Protocol::Http => endpoint_below(text, signal.path),
        });
        for name in signal.unsupported {
            self.read(&[name], |_| Err::<(), _>(Invalid::new("not supported by this release", UNSUPPORTED_HINT)));
        }
        // An endpoint that is wrong has been reported; the rest is judged as well.
        let defaults = ReceiverConfig::new(endpoint.unwrap_or_default());
        Some(ReceiverConfig {
            protocol,
            headers: self.read(&signal.headers, headers).unwrap_or_default(),
            gzip: self.read(&signal.compression, compression).unwrap_or(false),
            timeout: self.read(&signal.timeout, millis).unwrap_or(defaults.timeout),
            authorities: self.read(&signal.certificate, authorities),
            ..defaults
        })
    }

    /// The first of some variables that is set. An empty one counts as unset.
    fn given(&mut self, names: &[&'static str]) -> Option<(&'static str, String)> {
        let environment = &self.sources.environment;
        let found = names.iter().find_map(|&name| {
            let (_, value) = environment.iter().find(|(key, value)| key == name && !value.is_empty())?;
            Some((name, value))
        });
        let (name, value) = found?;
        match value.to_str() {
            Some(text) => Some((name, text.trim().to_owned())),
            None => {
                self.fail(name, None, Invalid::new("not UTF-8 text", "write it in UTF-8"));
                None
            }
        }
    }

    fn read<T>(&mut self, names: &[&'static str], read: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        let (name, text) = self.given(names)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(invalid) => {
                // A URL may hold a password.
                let secret = name.ends_with("_HEADERS") || text.contains('@');
                let shown = if secret { "***".to_owned() } else { text };
                self.fail(name, Some(shown), invalid);
                None
            }
        }
    }

    fn fail(&mut self, name: &str, value: Option<String>, invalid: Invalid) {
        let Invalid { reason, hint } = invalid;
        let origin = Origin::Environment(name.to_owned());
        let error = ConfigError { name: name.to_owned(), origin, value, reason, hint };
        // A variable of all signals is read once for each of them.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn sampler(&mut self) -> Sampler {
        let sampler = self.read(&["OTEL_TRACES_SAMPLER"], sampler).unwrap_or(Named::Fixed(Sampler::default()));
        match sampler {
            Named::Fixed(sampler) => sampler,
            Named::Ratio { parent_based } => {
                let ratio = self.read(&["OTEL_TRACES_SAMPLER_ARG"], |text| number_in(text, 0.0..=1.0));
                Sampler { parent_based, ratio: ratio.unwrap_or(1.0) }
            }
        }
    }

    /// The attributes of the service. `OTEL_SERVICE_NAME` overrides a name among the attributes.
    fn resource(&mut self, defaults: Vec<(String, String)>) -> Vec<(String, String)> {
        let mut resource = self.read(&["OTEL_RESOURCE_ATTRIBUTES"], attributes).unwrap_or_default();
        if let Some((_, name)) = self.given(&["OTEL_SERVICE_NAME"]) {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        for (key, value) in defaults {
            if resource.iter().all(|(known, _)| *known != key) {
                resource.push((key, value));
            }
        }
        resource
    }

    fn batch(&mut self) -> BatchConfig {
        let defaults = BatchConfig::default();
        let queue = self.read(&["OTEL_BSP_MAX_QUEUE_SIZE"], |text| count(text, 1..=1_000_000));
        let queue: usize = queue.unwrap_or(defaults.queue);
        let most = queue.min(10_000);
        let size = self.read(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], |text| count(text, 1..=most as u64));
        BatchConfig {
            queue,
            size: size.unwrap_or(defaults.size.min(most)),
            delay: self.read(&["OTEL_BSP_SCHEDULE_DELAY"], millis).unwrap_or(defaults.delay),
            timeout: self.read(&["OTEL_BSP_EXPORT_TIMEOUT"], millis).unwrap_or(defaults.timeout),
        }
    }
}
