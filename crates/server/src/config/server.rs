//! What an operator decides about the server itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::catalog::WatchConfig;

/// Where the server listens, what it accepts and how it ends. [`Default`] gives the documented defaults, except for those
/// that depend on the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where `ProductCatalog`, health and reflection listen. With port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Where `CacheAdmin`, health and reflection listen: a loopback address, since nobody is asked for credentials. `None` leaves
    /// the service out.
    pub admin_listen: Option<SocketAddr>,
    /// A file that is written with the chosen addresses once the server is ready.
    pub addresses_file: Option<PathBuf>,
    /// Where Larder keeps what is its own. `None` when the user has no home directory and none was named; then the database
    /// URL was named, and nothing is kept here.
    pub data_dir: Option<PathBuf>,
    /// Whether to load the sample catalogue into an empty database.
    pub sample_catalogue: bool,
    /// How long the change log is kept.
    pub change_retention: Duration,
    /// Threads that serve requests.
    pub workers: usize,
    /// What clients may ask for.
    pub limits: Limits,
    /// How replies are compressed.
    pub compression: Compression,
    /// Who may watch products.
    pub watch: WatchConfig,
    /// How many of the products that all replicas read most are read before this one is ready.
    pub warm_on_start: usize,
    /// How long that may take.
    pub warm_timeout: Duration,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// How connections are kept.
    pub connections: Connections,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// What clients may ask for. Whatever is larger is refused with `RESOURCE_EXHAUSTED`, or not accepted at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message from a client.
    pub request_bytes: usize,
    /// Bytes of one message to a client.
    pub response_bytes: usize,
    /// Bytes of the headers of one request.
    pub header_bytes: u32,
    /// Requests under way on one connection.
    pub concurrent_streams: u32,
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
}

/// Encodings in which replies are compressed for clients that accept them; of several, the one that a client names first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// With gzip.
    pub gzip: bool,
    /// With zstd.
    pub zstd: bool,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// A request that names no deadline gets this one.
    pub request_default: Duration,
    /// A request that names a later deadline gets this one.
    pub request_max: Duration,
    /// After a signal to stop, requests under way get this long to finish.
    pub drain: Duration,
}

/// How connections are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// An idle connection is asked this often whether its other end is there; `None` never asks.
    pub keepalive_interval: Option<Duration>,
    /// A connection whose other end does not answer within this time is closed.
    pub keepalive_timeout: Duration,
    /// A connection is asked to go after this time, so that clients spread over new replicas; `None` lets it stay.
    pub max_age: Option<Duration>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Which events.
    pub filter: Targets,
    /// In which form.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051),
            admin_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50052)),
            addresses_file: None,
            data_dir: None,
            sample_catalogue: false,
            change_retention: Duration::from_hours(1),
            workers: 1,
            limits: Limits {
                request_bytes: 4 << 20,
                response_bytes: 64 << 20,
                header_bytes: 16 << 10,
                concurrent_streams: 1_000,
                connections: 8_192,
            },
            compression: Compression::default(),
            watch: WatchConfig::default(),
            warm_on_start: 20_000,
            warm_timeout: Duration::from_secs(5),
            deadlines: Deadlines {
                request_default: Duration::from_secs(30),
                request_max: Duration::from_mins(5),
                drain: Duration::from_secs(10),
            },
            connections: Connections {
                keepalive_interval: Some(Duration::from_mins(1)),
                keepalive_timeout: Duration::from_secs(20),
                max_age: None,
            },
            log: LogConfig { filter: Targets::new().with_default(LevelFilter::INFO), format: LogFormat::Json },
        }
    }
}
