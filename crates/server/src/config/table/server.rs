//! Settings of the server itself.

use std::time::Duration;

use super::super::{
    Compression, Invalid, LogFormat, log,
    setting::{Default, Setting},
    value,
};

const DAY: Duration = Duration::from_hours(24);

pub(super) const SERVER: &[Setting] = &[
    Setting {
        key: "listen",
        env: "LARDER_LISTEN",
        default: Default::Text("127.0.0.1:50051"),
        shape: "ADDRESS",
        help: "Where ProductCatalog, health and reflection listen. Port 0 means any free port.",
        set: |config, text| {
            config.server.listen = value::socket(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "admin-listen",
        env: "LARDER_ADMIN_LISTEN",
        default: Default::Text("127.0.0.1:50052"),
        shape: "ADDRESS",
        help: "Where CacheAdmin, health and reflection listen. Without credentials in the file it must be a loopback address. none \
               leaves the service out.",
        set: |config, text| {
            config.server.admin_listen = value::optional(text, value::socket)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "http-listen",
        env: "LARDER_HTTP_LISTEN",
        default: Default::Text("127.0.0.1:9464"),
        shape: "ADDRESS",
        help: "Where HTTP/1.1 is served: the live page at /, /metrics, /livez, /readyz and, with webhook-secrets, POST \
               /webhooks/events. Without credentials in the file, whoever reaches the address reads the metrics and looks at the page, \
               and only a browser on the same machine invalidates. Port 0 means any free port. none serves no HTTP.",
        set: |config, text| {
            config.server.http_listen = value::optional(text, value::socket)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "addresses-file",
        env: "LARDER_ADDRESSES_FILE",
        shape: "PATH",
        help: "The server writes the addresses in use into this file once it is ready.",
        set: |config, text| {
            config.server.addresses_file = value::optional(text, value::path)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "workers",
        env: "LARDER_WORKERS",
        default: Default::Computed {
            words: "number of processors",
            example: "4",
            compute: |known| Ok(Some(known.machine.cores.clamp(1, 1_024).to_string())),
        },
        shape: "NUMBER",
        help: "Threads that serve requests.",
        set: |config, text| {
            config.server.workers = value::count(text, 1..=1_024)?;
            Ok(())
        },
        ..Setting::BASE
    },
];

pub(super) const LIMITS: &[Setting] = &[
    Setting {
        key: "max-request-bytes",
        env: "LARDER_MAX_REQUEST_BYTES",
        default: Default::Text("4MiB"),
        shape: "SIZE",
        help: "The largest message from a client. The server refuses a larger one with RESOURCE_EXHAUSTED.",
        set: |config, text| {
            config.server.limits.request_bytes = bytes(text, 64 << 10, 1 << 30)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "compress-replies",
        env: "LARDER_COMPRESS_REPLIES",
        shape: "ENCODINGS",
        help: "How the server compresses replies for clients that accept it: gzip, zstd, both separated by a comma, or none. It \
               saves bandwidth and costs CPU; single replies below 1KiB stay as they are. Requests may always be compressed with \
               either.",
        set: |config, text| {
            config.server.compression = compression(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "max-connections",
        env: "LARDER_MAX_CONNECTIONS",
        default: Default::Text("8192"),
        shape: "NUMBER",
        help: "Connections at once, of which one address may have three quarters. A further one takes the place of one without a \
               call, or gets RESOURCE_EXHAUSTED. Each needs a file descriptor.",
        set: |config, text| {
            config.server.limits.connections = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "max-watchers",
        env: "LARDER_MAX_WATCHERS",
        default: Default::Text("64"),
        shape: "NUMBER",
        help: "Streams of changes (WatchProducts) at once. The server refuses further ones with RESOURCE_EXHAUSTED.",
        set: |config, text| {
            config.server.watch.watchers = value::count(text, 0..=10_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
];

pub(super) const TIMES: &[Setting] = &[
    Setting {
        key: "max-deadline",
        env: "LARDER_MAX_DEADLINE",
        default: Default::Text("5m"),
        shape: "DURATION",
        help: "The latest deadline that a request may name; the server shortens a later one. A request without a deadline gets 30s. \
               Imports and streams of changes need none.",
        set: |config, text| {
            config.server.deadlines.request_max = value::duration_in(text, Duration::from_millis(10)..=DAY)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "drain-deadline",
        env: "LARDER_DRAIN_DEADLINE",
        default: Default::Text("10s"),
        shape: "DURATION",
        help: "How long requests in progress may take to finish after SIGTERM or Ctrl-C. Then the server cuts them off.",
        set: |config, text| {
            config.server.deadlines.drain = value::duration_in(text, Duration::ZERO..=Duration::from_hours(1))?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "max-connection-age",
        env: "LARDER_MAX_CONNECTION_AGE",
        shape: "DURATION",
        help: "The age, a tenth more or less, at which the server asks a client to reconnect, so that clients spread over new \
               replicas. none: never.",
        set: |config, text| {
            config.server.connections.max_age =
                value::optional(text, |text| value::duration_in(text, Duration::from_secs(1)..=DAY * 30))?;
            Ok(())
        },
        ..Setting::BASE
    },
];

pub(super) const LOGS: &[Setting] = &[
    Setting {
        key: "log",
        env: "LARDER_LOG",
        default: Default::Text("info"),
        shape: "FILTER",
        help: "What is logged: off, error, warn, info, debug or trace, and exceptions by module, such as \
               warn,larder_server=debug. On SIGHUP a running server reads this again.",
        set: |config, text| {
            config.server.log.filter = log::filter(text)
                .map_err(|reason| Invalid::new(reason, "write a level such as info, or warn,larder_server=debug"))?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "log-format",
        env: "LARDER_LOG_FORMAT",
        default: Default::Computed {
            words: "human on a terminal, else json",
            example: "json",
            compute: |known| Ok(Some(if known.machine.terminal { "human" } else { "json" }.to_owned())),
        },
        shape: "FORMAT",
        help: "The form of log lines: human or json.",
        set: |config, text| {
            config.server.log.format = match text.trim().to_ascii_lowercase().as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => return Err(Invalid::new("not a form of log lines", "write human or json")),
            };
            Ok(())
        },
        ..Setting::BASE
    },
];

pub(super) const CALLS: &[Setting] = &[
    Setting {
        key: "slow-call",
        env: "LARDER_SLOW_CALL",
        default: Default::Text("1s"),
        shape: "DURATION",
        help: "A call that takes longer than this is logged with its method, code and duration, at most ten such lines a second. Time \
               that the caller takes to send its request does not count, and streams are exempt. none: no call is logged.",
        set: |config, text| {
            let limits = Duration::from_millis(1)..=DAY;
            config.telemetry.slow_call = value::optional(text, |text| value::duration_in(text, limits))?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "trace-attributes",
        env: "LARDER_TRACE_ATTRIBUTES",
        shape: "NAMES",
        help: "What spans name beyond the usual: larder.cache.key, the keys of copies, which hold ids of products and words that were \
               searched; and baggage.NAME, a member of the caller's W3C baggage, at most 16 of them. Larder sends baggage to nobody \
               else. Spans are exported when the environment names an endpoint (OTEL_EXPORTER_OTLP_ENDPOINT).",
        set: |config, text| {
            let (keys, baggage) = value::optional(text, attributes)?.unwrap_or_default();
            config.telemetry.trace_keys = keys;
            config.telemetry.trace_baggage = baggage;
            Ok(())
        },
        ..Setting::BASE
    },
];

/// Reads attributes of spans: whether keys are among them, and the names of baggage, which are tokens of HTTP.
fn attributes(text: &str) -> Result<(bool, Vec<String>), Invalid> {
    const KEY: &str = "larder.cache.key";
    const HINT: &str = "write larder.cache.key, baggage.tenant, or several such names separated by commas";
    let is_name = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).is_ok() && name.len() <= 64;
    let (mut keys, mut baggage) = (false, Vec::new());
    for name in text.split(',').map(str::trim) {
        match name.strip_prefix("baggage.") {
            Some(member) if is_name(member) => baggage.push(member.to_owned()),
            None if name == KEY => keys = true,
            Some(_) | None => return Err(Invalid::new("not names of attributes", HINT)),
        }
    }
    if baggage.len() > 16 {
        return Err(Invalid::new("more than 16 members of baggage", HINT));
    }
    Ok((keys, baggage))
}

fn bytes(text: &str, least: u64, most: u64) -> Result<usize, Invalid> {
    let value = value::size_in(text, least..=most)?;
    usize::try_from(value).map_err(|_| Invalid::new("too large", "write a size that fits into memory"))
}

fn compression(text: &str) -> Result<Compression, Invalid> {
    let mut compression = Compression::default();
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(compression);
    }
    for name in text.split(',') {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" => compression.gzip = true,
            "zstd" => compression.zstd = true,
            _ => return Err(Invalid::new("not an encoding of replies", "write gzip, zstd, gzip,zstd or none")),
        }
    }
    Ok(compression)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_named_one_by_one() {
        assert_eq!(attributes("larder.cache.key").ok(), Some((true, Vec::new())));
        let named = attributes("baggage.tenant, larder.cache.key,baggage.shop").ok();
        assert_eq!(named, Some((true, vec!["tenant".to_owned(), "shop".to_owned()])));
        let long = format!("baggage.{}", "x".repeat(65));
        let many = vec!["baggage.a"; 17].join(",");
        for wrong in ["key", "baggage.", "baggage.a b", "larder.cache.key,", &long, &many] {
            assert!(attributes(wrong).is_err(), "{wrong}");
        }
    }
}
