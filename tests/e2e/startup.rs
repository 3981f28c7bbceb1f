//! How a server that cannot start says so.

use std::{net::TcpListener, process::Stdio};

use larder_test_servers::{TempDir, free_port};

use crate::harness::{Database, Process};

/// Runs `larder serve` until it ends by itself; returns its exit code and what it wrote to standard error.
async fn serve(environment: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let directory = TempDir::new("startup");
    let mut command = Process::command().await;
    command.arg("serve").arg("--data-dir").arg(directory.path()).args(flags);
    command.envs(environment.iter().copied()).stderr(Stdio::piped());
    let output = command.spawn().expect("larder to start").wait_with_output().await.expect("larder to end");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, text) = serve(&[("LARDER_LISTEN", &address)], &[]).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&address) && text.contains("--listen"), "what is wrong, and what to do:\n{text}");
}

#[tokio::test]
async fn every_error_in_the_configuration_is_reported_at_once() {
    let environment = [
        ("LARDER_LISTEN", "nowhere"),
        ("LARDER_ADMIN_LISTEN", "0.0.0.0:50052"),
        ("LARDER_STALENESS_BOUND", "soon"),
        ("LARDER_L1_BYTES", "-1"),
        ("DATABASE_URL", "mysql://user:secret-word@localhost/larder"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("LARDER_POLICY__ITEM__TTL", "2d"),
    ];
    let (code, text) = serve(&environment, &["--max-loads", "many"]).await;
    assert_eq!(code, Some(78), "{text}");
    for name in [
        "listen",
        "admin-listen",
        "staleness-bound",
        "l1-bytes",
        "database-url",
        "redis-url",
        "policy.item.ttl",
        "max-loads",
    ] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(name)), "{name} is missing:\n{text}");
    }
    for origin in ["environment LARDER_LISTEN", "environment DATABASE_URL", "flag --max-loads"] {
        assert!(text.contains(origin), "{origin} is missing:\n{text}");
    }
    assert!(!text.contains("secret-word"), "{text}");
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_loaded_is_named() {
    let directory = TempDir::new("catalogue");
    let file = directory.join("products.json");
    let path = file.to_str().expect("a path");
    let (code, text) = serve(&[("LARDER_SAMPLE_CATALOGUE", path)], &["--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains(path) && text.contains("LARDER_SAMPLE_CATALOGUE"), "{text}");
    std::fs::write(&file, r#"{"products": [{"id": "a", "name": "A"}, {"id": "b"}]}"#).expect("a file");
    let (code, text) = serve(&[("LARDER_SAMPLE_CATALOGUE", path)], &["--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("product 2: name: is required"), "{text}");
}

#[tokio::test]
async fn wrong_variables_of_opentelemetry_are_named() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret-word"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
    ];
    let (code, text) = serve(&environment, &[]).await;
    assert_eq!(code, Some(78), "{text}");
    for (name, _) in environment {
        assert!(text.lines().any(|line| line.trim_start().starts_with(name)), "{name} is missing:\n{text}");
    }
    assert!(!text.contains("secret-word"), "{text}");
}

#[tokio::test]
async fn a_database_that_is_away_is_named_without_its_password() {
    let url = format!("postgres://user:secret-word@127.0.0.1:{}/larder", free_port());
    let flags = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let (code, text) = serve(&[("DATABASE_URL", &url)], &flags).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("database") && !text.contains("secret-word"), "{text}");
}

#[tokio::test]
async fn what_is_no_flag_is_a_wrong_usage() {
    let (code, text) = serve(&[], &["--lisen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--listen"), "a hint:\n{text}");
}

#[tokio::test]
async fn a_dropped_name_says_what_replaced_it() {
    let (code, text) = serve(&[], &["--ttl-item=5m", "--bus-queue", "9"]).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("LARDER_POLICY__ITEM__TTL") && text.contains("bus-queue (flag --bus-queue)"), "{text}");
    let (code, text) = serve(&[("LARDER_TTL_ITEM", "5m"), ("LARDER_L2_LEASE", "1s")], &[]).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("LARDER_POLICY__ITEM__TTL") && text.contains("a lease always lasts 3s"), "{text}");
}

#[tokio::test]
async fn what_looks_like_a_setting_and_is_none_is_warned_of() {
    let database = Database::sqlite();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (_, text) =
        serve(&[("LARDER_LISTEN", &address), ("LARDER_MAX_STAIL", "1m"), ("DATABASE_URL", &database.url())], &[]).await;
    assert!(text.contains("LARDER_MAX_STAIL") && text.contains("LARDER_MAX_STALE"), "{text}");
}
