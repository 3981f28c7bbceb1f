//! The standard variables of OpenTelemetry, by its specification ("Environment Variable Specification", "OpenTelemetry Protocol
//! Exporter"). They stand beside the table of settings, because other programs share their names.

use std::{str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{
    BatchConfig, ConfigError, Invalid, Origin, Sampler, Sources, TracesConfig,
    value::{boolean, count, number_in},
};

const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSION: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
/// The certificates of a receiver with an authority of its own.
const UNSUPPORTED: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
];
/// The most attributes of the service.
const MOST_ATTRIBUTES: usize = 64;

/// Reads where spans go; `None` when no endpoint is set, or traces are switched off. A variable that has no effect is not judged.
pub(super) fn traces(sources: &Sources, errors: &mut Vec<ConfigError>) -> Option<TracesConfig> {
    let mut reader = Reader { sources, errors };
    let disabled = reader.read(&["OTEL_SDK_DISABLED"], boolean).unwrap_or(false);
    let exported = reader.read(&["OTEL_TRACES_EXPORTER"], exporter).unwrap_or(true);
    if disabled || !exported {
        return None;
    }
    reader.given(&ENDPOINT)?;
    let endpoint = reader.read(&ENDPOINT, endpoint);
    reader.read(&PROTOCOL, protocol);
    for name in UNSUPPORTED {
        reader.read(&[name], |_| Err::<(), _>(Invalid::new("not supported by this release", UNSUPPORTED_HINT)));
    }
    // An endpoint that is wrong has been reported; the rest is judged as well.
    let defaults = TracesConfig::new(endpoint.unwrap_or_default());
    Some(TracesConfig {
        headers: reader.read(&HEADERS, headers).unwrap_or_default(),
        gzip: reader.read(&COMPRESSION, compression).unwrap_or(false),
        timeout: reader.read(&TIMEOUT, millis).unwrap_or(defaults.timeout),
        sampler: reader.sampler(),
        resource: reader.resource(defaults.resource.clone()),
        batch: reader.batch(),
        ..defaults
    })
}

const UNSUPPORTED_HINT: &str = "unset it, and export to a collector nearby, which can do that";

struct Reader<'a> {
    sources: &'a Sources,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
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
                let shown = if HEADERS.contains(&name) { "***".to_owned() } else { text };
                self.fail(name, Some(shown), invalid);
                None
            }
        }
    }

    fn fail(&mut self, name: &str, value: Option<String>, invalid: Invalid) {
        let Invalid { reason, hint } = invalid;
        let origin = Origin::Environment(name.to_owned());
        let error = ConfigError { name: name.to_owned(), origin, value, reason, hint };
        // The endpoint is looked at twice.
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

/// A sampler by its name in the specification.
enum Named {
    Fixed(Sampler),
    Ratio { parent_based: bool },
}

fn sampler(text: &str) -> Result<Named, Invalid> {
    let fixed = |parent_based, ratio| Ok(Named::Fixed(Sampler { parent_based, ratio }));
    match text {
        "always_on" => fixed(false, 1.0),
        "always_off" => fixed(false, 0.0),
        "traceidratio" => Ok(Named::Ratio { parent_based: false }),
        "parentbased_always_on" => fixed(true, 1.0),
        "parentbased_always_off" => fixed(true, 0.0),
        "parentbased_traceidratio" => Ok(Named::Ratio { parent_based: true }),
        _ => Err(Invalid::new(
            "not a sampler",
            "write always_on, always_off or traceidratio, or one of these behind parentbased_",
        )),
    }
}

/// Whether spans are exported.
fn exporter(text: &str) -> Result<bool, Invalid> {
    match text {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(Invalid::new("not an exporter of this release", "write otlp or none")),
    }
}

fn endpoint(text: &str) -> Result<Uri, Invalid> {
    const HINT: &str = "write a URL such as http://127.0.0.1:4317";
    let uri = Uri::from_str(text).map_err(|_| Invalid::new("not a URL", HINT))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Invalid::new("neither http:// nor https://", HINT));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(Invalid::new("a URL without a host", HINT));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(Invalid::new("a URL with a path, which OTLP over gRPC does not have", HINT));
    }
    Ok(uri)
}

fn protocol(text: &str) -> Result<(), Invalid> {
    if text == "grpc" {
        return Ok(());
    }
    Err(Invalid::new("not a protocol of this release", "write grpc, and name the receiver's port for it, usually 4317"))
}

fn compression(text: &str) -> Result<bool, Invalid> {
    match text {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(Invalid::new("not a compression of exports", "write gzip or none")),
    }
}

fn millis(text: &str) -> Result<Duration, Invalid> {
    count(text, 1..=600_000).map(Duration::from_millis)
}

fn headers(text: &str) -> Result<HeaderMap, Invalid> {
    const HINT: &str = "write name=value, several separated by commas, with special characters percent-encoded";
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text).ok_or_else(|| Invalid::new("not a list of headers", HINT))? {
        let invalid = || Invalid::new("not a header of HTTP", HINT);
        let name = HeaderName::from_str(&name).map_err(|_| invalid())?;
        if name.as_str().ends_with("-bin") {
            return Err(Invalid::new("a header with a binary value", HINT));
        }
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn attributes(text: &str) -> Result<Vec<(String, String)>, Invalid> {
    const HINT: &str = "write name=value, at most 64 separated by commas, with special characters percent-encoded";
    let pairs = pairs(text).filter(|pairs| pairs.len() <= MOST_ATTRIBUTES);
    pairs.ok_or_else(|| Invalid::new("not a list of attributes", HINT))
}

/// Reads `name=value,name=value` as W3C Baggage has it, without properties.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
            (!name.is_empty()).then_some((name, value))
        })
        .collect()
}

/// Replaces `%` and two hexadecimal digits by their byte; `None` where the result is not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Option<TracesConfig>, Vec<ConfigError>> {
        let environment = environment.iter().map(|(key, text)| (key.into(), text.into())).collect();
        let mut errors = Vec::new();
        let config = traces(&Sources { environment, ..Sources::default() }, &mut errors);
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");

    #[test]
    fn without_an_endpoint_there_are_no_traces() {
        for environment in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[HERE, ("OTEL_SDK_DISABLED", "true")],
            &[HERE, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_TRACES_SAMPLER", "anything")],
        ] {
            assert_eq!(read(environment), Ok(None), "{environment:?}");
        }
        let uri = Uri::from_static("http://127.0.0.1:4317");
        assert_eq!(read(&[HERE]), Ok(Some(TracesConfig::new(uri))));
    }

    #[test]
    fn every_variable_has_its_effect() {
        let config = read(&[
            HERE,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector:4317/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, X-Tenant = c"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_SERVICE_NAME", "catalogue"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=test%2Ca"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "3000"),
        ]);
        let config = config.unwrap().unwrap();
        assert_eq!(config.endpoint, "https://collector:4317/");
        assert_eq!(
            (&config.headers["api-key"], &config.headers["x-tenant"]),
            (&"a b".parse().unwrap(), &"c".parse().unwrap())
        );
        assert!(!format!("{config:?}").contains("a b"), "headers are secret");
        assert_eq!((config.timeout, config.gzip), (Duration::from_millis(1_500), true));
        assert_eq!(config.sampler, Sampler { parent_based: true, ratio: 0.25 });
        let of = |key: &str| config.resource.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        assert_eq!(of("service.name"), Some("catalogue"));
        assert_eq!(of("deployment.environment.name"), Some("test,a"));
        let (delay, timeout) = (Duration::from_millis(20), Duration::from_secs(3));
        assert_eq!(config.batch, BatchConfig { queue: 100, size: 10, delay, timeout });
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        for (text, parent_based, ratio) in [
            ("always_on", false, 1.0),
            ("always_off", false, 0.0),
            ("traceidratio", false, 0.5),
            ("parentbased_always_on", true, 1.0),
            ("parentbased_always_off", true, 0.0),
        ] {
            let config = read(&[HERE, ("OTEL_TRACES_SAMPLER", text), ("OTEL_TRACES_SAMPLER_ARG", "0.5")]);
            assert_eq!(config.unwrap().unwrap().sampler, Sampler { parent_based, ratio }, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_its_variable() {
        for (name, text) in [
            ("OTEL_SDK_DISABLED", "maybe"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0Asecret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
        ] {
            let errors = read(&[HERE, (name, text)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!((errors[0].name.as_str(), errors[0].hint.is_empty()), (name, false));
            assert!(!errors[0].to_string().contains("secret"), "{}", errors[0]);
        }
        let ratio = [HERE, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")];
        assert_eq!(read(&ratio).unwrap_err()[0].name, "OTEL_TRACES_SAMPLER_ARG");
    }
}
