//! Settings of the server itself.

use std::time::Duration;

use super::super::{Compression, Invalid, LogFormat, setting::Setting, value};
use crate::telemetry;

const DAY: Duration = Duration::from_hours(24);

pub(super) const SERVER: &[Setting] = &[
    Setting::new(
        "listen",
        "LARDER_LISTEN",
        "127.0.0.1:50051",
        "ADDRESS",
        "Where ProductCatalog, health and reflection listen. Port 0: any free one.",
        |config, text| {
            config.server.listen = value::socket(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "admin-listen",
        "LARDER_ADMIN_LISTEN",
        "127.0.0.1:50052",
        "ADDRESS",
        "Where CacheAdmin, health and reflection listen. A loopback address, since nobody is asked for credentials; none \
         leaves the service out.",
        |config, text| {
            config.server.admin_listen = value::optional(text, value::loopback)?;
            Ok(())
        },
    ),
    Setting::new(
        "addresses-file",
        "LARDER_ADDRESSES_FILE",
        "none",
        "PATH",
        "A file that is written with the addresses in use once the server is ready.",
        |config, text| {
            config.server.addresses_file = value::optional(text, value::path)?;
            Ok(())
        },
    ),
    Setting::new(
        "workers",
        "LARDER_WORKERS",
        "number of processors",
        "NUMBER",
        "Threads that serve requests.",
        |config, text| {
            config.server.workers = value::count(text, 1..=1_024)?;
            Ok(())
        },
    )
    .computed("4", |known| Ok(Some(known.machine.cores.clamp(1, 1_024).to_string()))),
];

pub(super) const LIMITS: &[Setting] = &[
    Setting::new(
        "max-request-bytes",
        "LARDER_MAX_REQUEST_BYTES",
        "4MiB",
        "SIZE",
        "The largest message from a client. A larger one is refused with RESOURCE_EXHAUSTED.",
        |config, text| {
            config.server.limits.request_bytes = bytes(text, 64 << 10, 1 << 30)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-response-bytes",
        "LARDER_MAX_RESPONSE_BYTES",
        "64MiB",
        "SIZE",
        "The largest message to a client. A page that would be larger is refused with RESOURCE_EXHAUSTED; ask for a smaller \
         one.",
        |config, text| {
            config.server.limits.response_bytes = bytes(text, 64 << 10, 1 << 30)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-header-bytes",
        "LARDER_MAX_HEADER_BYTES",
        "16KiB",
        "SIZE",
        "The largest list of headers of one request, each counted with 32 bytes more. A larger one is refused with \
         RESOURCE_EXHAUSTED; HTTP/2 takes no list beyond 256KiB, or twice this: such a request ends with HTTP 431, and a far larger \
         one ends the connection.",
        |config, text| {
            let value = value::size_in(text, 1 << 10..=1 << 20)?;
            config.server.limits.header_bytes = u32::try_from(value).unwrap_or(u32::MAX);
            Ok(())
        },
    ),
    Setting::new(
        "compress-replies",
        "LARDER_COMPRESS_REPLIES",
        "none",
        "ENCODINGS",
        "How replies are compressed for clients that accept it: gzip, zstd, both separated by a comma, or none. It saves bandwidth \
         and costs CPU; single replies below 1KiB stay as they are. Requests may be compressed with either, whatever stands here.",
        |config, text| {
            config.server.compression = compression(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-concurrent-streams",
        "LARDER_MAX_CONCURRENT_STREAMS",
        "1000",
        "NUMBER",
        "Requests under way at once on one connection; more wait at the client.",
        |config, text| {
            config.server.limits.concurrent_streams = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-connections",
        "LARDER_MAX_CONNECTIONS",
        "8192",
        "NUMBER",
        "Connections at once; more wait to be accepted. Each needs a file descriptor.",
        |config, text| {
            config.server.limits.connections = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-watchers",
        "LARDER_MAX_WATCHERS",
        "64",
        "NUMBER",
        "Streams of changes (WatchProducts) at once; one more is refused with RESOURCE_EXHAUSTED.",
        |config, text| {
            config.server.watch.watchers = value::count(text, 0..=10_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "watch-backlog",
        "LARDER_WATCH_BACKLOG",
        "50000",
        "NUMBER",
        "Changes kept in memory for streams of changes that are read slowly; one that is further behind is cut off.",
        |config, text| {
            config.server.watch.backlog = value::count(text, 1..=10_000_000)?;
            Ok(())
        },
    ),
];

pub(super) const TIMES: &[Setting] = &[
    Setting::new(
        "default-deadline",
        "LARDER_DEFAULT_DEADLINE",
        "30s",
        "DURATION",
        "The deadline of a request that names none.",
        |config, text| {
            config.server.deadlines.request_default = value::duration_in(text, Duration::from_millis(10)..=DAY)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-deadline",
        "LARDER_MAX_DEADLINE",
        "5m",
        "DURATION",
        "The latest deadline that a request may name; a later one is brought down to it. Imports and streams of changes have none.",
        |config, text| {
            config.server.deadlines.request_max = value::duration_in(text, Duration::from_millis(10)..=DAY)?;
            Ok(())
        },
    ),
    Setting::new(
        "drain-deadline",
        "LARDER_DRAIN_DEADLINE",
        "10s",
        "DURATION",
        "How long requests under way may take to finish after SIGTERM or Ctrl-C; then they are cut off.",
        |config, text| {
            config.server.deadlines.drain = value::duration_in(text, Duration::ZERO..=Duration::from_hours(1))?;
            Ok(())
        },
    ),
    Setting::new(
        "keepalive-interval",
        "LARDER_KEEPALIVE_INTERVAL",
        "1m",
        "DURATION",
        "How often an idle connection is asked whether its other end is there; none: never.",
        |config, text| {
            config.server.connections.keepalive_interval =
                value::optional(text, |text| value::duration_in(text, Duration::from_secs(1)..=DAY))?;
            Ok(())
        },
    ),
    Setting::new(
        "keepalive-timeout",
        "LARDER_KEEPALIVE_TIMEOUT",
        "20s",
        "DURATION",
        "A connection that does not answer for this long is closed.",
        |config, text| {
            config.server.connections.keepalive_timeout =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_hours(1))?;
            Ok(())
        },
    ),
    Setting::new(
        "max-connection-age",
        "LARDER_MAX_CONNECTION_AGE",
        "none",
        "DURATION",
        "A connection is asked to go after this long, so that clients spread over new replicas; none: it may stay.",
        |config, text| {
            config.server.connections.max_age =
                value::optional(text, |text| value::duration_in(text, Duration::from_secs(1)..=DAY * 30))?;
            Ok(())
        },
    ),
];

pub(super) const LOGS: &[Setting] = &[
    Setting::new(
        "log",
        "LARDER_LOG",
        "info",
        "FILTER",
        "What is logged: off, error, warn, info, debug or trace, and exceptions by module, such as \
         warn,larder_server=debug.",
        |config, text| {
            config.server.log.filter = telemetry::filter(text)
                .map_err(|reason| Invalid::new(reason, "write a level such as info, or warn,larder_server=debug"))?;
            Ok(())
        },
    ),
    Setting::new(
        "log-format",
        "LARDER_LOG_FORMAT",
        "human on a terminal, else json",
        "FORMAT",
        "How log lines look: human or json.",
        |config, text| {
            config.server.log.format = match text.trim().to_ascii_lowercase().as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => return Err(Invalid::new("not a form of log lines", "write human or json")),
            };
            Ok(())
        },
    )
    .computed("json", |known| Ok(Some(if known.machine.terminal { "human" } else { "json" }.to_owned()))),
];

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
