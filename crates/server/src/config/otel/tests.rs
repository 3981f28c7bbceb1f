//! Tests of the standard variables.

use super::*;

use std::time::Duration;

use http::Uri;

fn read(environment: &[(&str, &str)]) -> Result<TelemetryConfig, Vec<ConfigError>> {
    let environment = environment.iter().map(|(key, text)| (key.into(), text.into())).collect();
    let (mut telemetry, mut errors) = (TelemetryConfig::default(), Vec::new());
    exports(&Sources { environment, ..Sources::default() }, &mut telemetry, &mut errors);
    if errors.is_empty() { Ok(telemetry) } else { Err(errors) }
}

const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");

#[test]
fn without_an_endpoint_nothing_is_exported() {
    for environment in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[HERE, ("OTEL_SDK_DISABLED", "true")],
        &[HERE, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")],
        &[("OTEL_TRACES_SAMPLER", "anything"), ("OTEL_METRIC_EXPORT_INTERVAL", "anything")],
    ] {
        assert_eq!(read(environment), Ok(TelemetryConfig::default()), "{environment:?}");
    }
}

#[test]
fn each_signal_can_go_alone() {
    let receiver = ReceiverConfig::new(Uri::from_static(HERE.1));
    let (traces, metrics) = (TracesConfig::new(receiver.clone()), MetricsConfig::new(receiver));
    let exported = |environment: &[_]| read(environment).map(|read| (read.traces, read.metrics));
    assert_eq!(exported(&[HERE]), Ok((Some(traces.clone()), Some(metrics.clone()))));
    assert_eq!(exported(&[HERE, ("OTEL_METRICS_EXPORTER", "none")]), Ok((Some(traces.clone()), None)));
    assert_eq!(exported(&[HERE, ("OTEL_TRACES_EXPORTER", "none")]), Ok((None, Some(metrics.clone()))));
    assert_eq!(exported(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", HERE.1)]), Ok((Some(traces), None)));
    assert_eq!(exported(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", HERE.1)]), Ok((None, Some(metrics))));
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
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "4000"),
    ]);
    let TelemetryConfig { traces, metrics, resource, .. } = config.unwrap();
    let (traces, metrics) = (traces.unwrap(), metrics.unwrap());
    let receiver = traces.receiver;
    assert_eq!((receiver.endpoint, receiver.protocol), (Uri::from_static("https://collector:4317/"), Protocol::Grpc));
    assert_eq!(receiver.headers["api-key"], "a b");
    assert_eq!(receiver.headers["x-tenant"], "c");
    assert!(!format!("{:?}", receiver.headers).contains("a b"), "headers are secret");
    assert_eq!((receiver.timeout, receiver.gzip), (Duration::from_millis(1_500), true));
    assert_eq!(traces.sampler, Sampler { parent_based: true, ratio: 0.25 });
    let (delay, timeout) = (Duration::from_millis(20), Duration::from_secs(3));
    assert_eq!(traces.batch, BatchConfig { queue: 100, size: 10, delay, timeout });
    assert_eq!((metrics.interval, metrics.timeout), (Duration::from_secs(15), Duration::from_secs(4)));
    assert_eq!(metrics.receiver.timeout, Duration::from_secs(10), "that of traces is another one");
    assert_eq!(metrics.receiver.endpoint, HERE.1);
    let of = |key: &str| resource.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    assert_eq!(of("service.name"), Some("catalogue"));
    assert_eq!(of("deployment.environment.name"), Some("test,a"));
}

#[test]
fn over_http_a_signal_goes_below_the_endpoint_of_all_or_to_its_own() {
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    for (endpoint, traces, metrics) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/metrics"),
        ("https://here/otlp/", "https://here/otlp/v1/traces", "https://here/otlp/v1/metrics"),
    ] {
        let read = read(&[http, ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).unwrap();
        let (spans, points) = (read.traces.unwrap().receiver, read.metrics.unwrap().receiver);
        assert_eq!((spans.protocol, points.protocol), (Protocol::Http, Protocol::Http));
        assert_eq!((spans.endpoint.to_string(), points.endpoint.to_string()), (traces.to_owned(), metrics.to_owned()));
    }
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:4318/otlp?tenant=a");
    let metrics = read(&[http, own]).unwrap().metrics.unwrap();
    assert_eq!(metrics.receiver.endpoint, own.1);
}

#[test]
fn the_authority_of_a_receiver_is_read_from_a_file() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n";
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (directory.path().join("ca.pem"), directory.path().join("none.pem"));
    std::fs::write(&good, PEM).unwrap();
    std::fs::write(&bad, "nothing").unwrap();
    let certificate = |path: &str| read(&[HERE, ("OTEL_EXPORTER_OTLP_CERTIFICATE", path)]);
    let receiver = certificate(good.to_str().unwrap()).unwrap().traces.unwrap().receiver;
    assert_eq!(receiver.authorities.as_deref(), Some(PEM.as_bytes()));
    assert!(certificate(bad.to_str().unwrap()).is_err());
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
        assert_eq!(config.unwrap().traces.unwrap().sampler, Sampler { parent_based, ratio }, "{text}");
    }
}

#[test]
fn a_wrong_value_is_an_error_that_names_its_variable() {
    for (name, text) in [
        ("OTEL_SDK_DISABLED", "maybe"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "tcp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@/"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "0"),
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
        let errors = read(&[(name, text), HERE]).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!((errors[0].name.as_str(), errors[0].hint.is_empty()), (name, false));
        assert!(!errors[0].to_string().contains("secret"), "{}", errors[0]);
    }
    let ratio = [HERE, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")];
    assert_eq!(read(&ratio).unwrap_err()[0].name, "OTEL_TRACES_SAMPLER_ARG");
}
