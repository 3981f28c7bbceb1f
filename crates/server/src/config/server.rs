//! What an operator decides about the server itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZero,
    path::PathBuf,
    time::Duration,
};

use super::{LogConfig, constants};

/// Where the server listens, what it accepts and how it ends. [`Default`] gives the documented defaults, except for those
/// that depend on the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where `ProductCatalog`, health and reflection listen. With port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Where `CacheAdmin`, health and reflection listen; a loopback address where nobody is asked for credentials. `None` leaves the
    /// service out.
    pub admin_listen: Option<SocketAddr>,
    /// Where metrics, probes and webhooks are served over HTTP. `None` leaves them out.
    pub http_listen: Option<SocketAddr>,
    /// The server writes the chosen addresses into this file once it is ready.
    pub addresses_file: Option<PathBuf>,
    /// Where Larder keeps its own files. `None` when the user has no home directory and named none; then the database URL was
    /// named, and there are no files.
    pub data_dir: Option<PathBuf>,
    /// What is loaded into an empty database.
    pub sample_catalogue: SampleCatalogue,
    /// How long the change log is kept.
    pub change_retention: Duration,
    /// Threads that serve requests.
    pub workers: usize,
    /// What clients may ask for.
    pub limits: Limits,
    /// How many calls are admitted.
    pub admission: AdmissionConfig,
    /// How replies are compressed.
    pub compression: Compression,
    /// Limits of `WatchProducts`.
    pub watch: WatchConfig,
    /// How many of the hottest products of all replicas are loaded before this replica is ready.
    pub warm_on_start: usize,
    /// How long loading them may take.
    pub warm_timeout: Duration,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// How connections are kept.
    pub connections: Connections,
    /// Which web pages may call the catalogue.
    pub web_origins: WebOrigins,
    /// The contracts of other shops that are served too.
    pub compat: Vec<Contract>,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// A contract of another shop, which Larder serves in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// That of Online Boutique.
    Hipstershop,
    /// That of the OpenTelemetry demo.
    Oteldemo,
}

impl Contract {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hipstershop, Self::Oteldemo];

    /// Its Protobuf package, which is its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hipstershop => "hipstershop",
            Self::Oteldemo => "oteldemo",
        }
    }
}

/// What an empty database is filled with when the server starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SampleCatalogue {
    /// Nothing.
    #[default]
    None,
    /// The catalogue in the program.
    BuiltIn,
    /// The catalogue in a file.
    File(PathBuf),
}

/// The origins of web pages that may call by gRPC-Web.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WebOrigins {
    /// No page calls, and gRPC-Web is off.
    #[default]
    None,
    /// Every page may call.
    Any,
    /// Pages of these origins may call.
    Listed(Vec<String>),
}

/// What clients may ask for. A larger request is refused with `RESOURCE_EXHAUSTED`, or not accepted at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message from a client.
    pub request_bytes: usize,
    /// Bytes of one message to a client.
    pub response_bytes: usize,
    /// Bytes of the headers of one request.
    pub header_bytes: u32,
    /// Requests in progress on one connection.
    pub concurrent_streams: u32,
    /// Connections at once. A further one takes the place of one without a call, or is refused.
    pub connections: usize,
}

/// How many calls are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Calls at once that wait for something.
    pub calls: usize,
    /// Of these, calls of one caller.
    pub calls_per_caller: usize,
    /// How many calls a caller may begin; `None`: any number.
    pub rate: Option<Rate>,
}

/// How many calls a caller may begin in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second, on average.
    pub per_second: NonZero<u32>,
    /// Calls at once, after a time without calls.
    pub burst: NonZero<u32>,
}

/// A call that waits holds some 10 KB, so that all of them stay below 64 MiB.
impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { calls: 4_096, calls_per_caller: 3_072, rate: None }
    }
}

/// Encodings in which replies are compressed for clients that accept them. When a client accepts several, the first one that
/// it names is used.
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
    /// A message that has begun must end within this time.
    pub message: Duration,
    /// After a signal to stop, requests in progress get this long to finish.
    pub drain: Duration,
}

/// How connections are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// A client that has not greeted within this time is cut off.
    pub greeting: Duration,
    /// An idle connection is pinged this often; `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// A connection whose other end does not answer a ping within this time is closed.
    pub keepalive_timeout: Duration,
    /// The server asks a client to reconnect after this time, so that clients spread over new replicas; `None`: never.
    pub max_age: Option<Duration>,
}

/// Limits of `WatchProducts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchConfig {
    /// Streams at once.
    pub watchers: usize,
    /// Changes that are kept for slow readers; a reader that is further behind is cut off.
    pub backlog: usize,
    /// A stream without news tells its position this often.
    pub checkpoint: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { watchers: 64, backlog: constants::WATCH_BACKLOG, checkpoint: constants::WATCH_CHECKPOINT }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051),
            admin_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50052)),
            http_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464)),
            addresses_file: None,
            data_dir: None,
            sample_catalogue: SampleCatalogue::default(),
            change_retention: Duration::from_hours(1),
            workers: 1,
            limits: Limits {
                request_bytes: 4 << 20,
                response_bytes: constants::RESPONSE_BYTES,
                header_bytes: constants::HEADER_BYTES,
                concurrent_streams: constants::CONCURRENT_STREAMS,
                connections: 8_192,
            },
            admission: AdmissionConfig::default(),
            compression: Compression::default(),
            watch: WatchConfig::default(),
            warm_on_start: 20_000,
            warm_timeout: constants::WARM_TIMEOUT,
            deadlines: Deadlines {
                request_default: constants::DEFAULT_DEADLINE,
                request_max: Duration::from_mins(5),
                message: constants::MESSAGE,
                drain: Duration::from_secs(10),
            },
            connections: Connections {
                greeting: constants::GREETING,
                keepalive_interval: Some(constants::KEEPALIVE_INTERVAL),
                keepalive_timeout: constants::KEEPALIVE_TIMEOUT,
                max_age: None,
            },
            web_origins: WebOrigins::default(),
            compat: Vec::new(),
            log: LogConfig::default(),
        }
    }
}
