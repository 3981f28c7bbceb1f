//! The configuration: flags override environment variables, which override the file (`--config`), which overrides defaults.
//!
//! One [table](settings) describes every setting. [`resolve`] reads all of them and reports all errors together, before any
//! port is bound. What nobody needs to turn is a constant, with its reason, in `constants.rs`. Names of earlier releases are in
//! `dropped.rs`; they are errors that say what replaced them.

mod check;
mod constants;
mod dropped;
mod error;
mod events;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod lists;
mod log;
mod mask;
mod memory;
mod otel;
mod reload;
mod render;
mod resolve;
mod security;
mod server;
mod setting;
mod suggest;
mod table;
mod telemetry;
pub mod value;
mod variables;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use larder_cache::{CacheConfig, SharedConfig};
use larder_storage::StorageConfig;

pub use dropped::Dropped;
pub use error::{ConfigError, ConfigErrors, Origin};
pub(crate) use events::BASE64;
pub use events::{EventsConfig, QueueConfig, WebhookConfig, WebhookSecret};
pub use log::{LogConfig, LogFormat};
pub(crate) use otel::decoded;
pub use reload::Changes;
pub use render::{effective_json, effective_text, example, markdown};
pub use resolve::{Effective, Purpose, Resolved, Sources, resolve};
pub use security::{
    Access, AuthConfig, CertificateMatch, CertificateRule, ClientCertificates, Jwks, JwtConfig, Role, SecurityConfig,
    TlsConfig, TokenHash, TokenRule, new_token,
};
pub use server::{
    AdmissionConfig, Compression, Connections, Contract, Deadlines, Limits, Rate, SampleCatalogue, ServerConfig,
    WatchConfig, WebOrigins,
};
pub use setting::{Default as DefaultValue, Machine, Scope, Secret, Setting};
pub use table::{RedisParts, SECTIONS, Section, setting, settings};
pub use telemetry::{BatchConfig, MetricsConfig, Protocol, ReceiverConfig, Sampler, TelemetryConfig, TracesConfig};
pub use value::Invalid;

/// Everything that an operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// About the server itself.
    pub server: ServerConfig,
    /// About the database.
    pub storage: StorageConfig,
    /// About the cache. It has its shared tier when `redis_url` is given.
    pub cache: CacheConfig,
    /// About the shared tier, without its URL, whether there is one or not.
    pub shared: SharedConfig,
    /// Redis by the parts of its address.
    pub redis: RedisParts,
    /// Redis by its URL.
    pub redis_url: Option<String>,
    /// About events of other systems.
    pub events: EventsConfig,
    /// About what the server tells of its calls.
    pub telemetry: TelemetryConfig,
    /// About who may do what.
    pub security: SecurityConfig,
    /// About the commands that call a server.
    pub client: ClientConfig,
    /// The memory that this process may use, in bytes, of which settings may be a share. `None` where it is not known.
    pub memory: Option<u64>,
}

impl Default for Config {
    /// The constants, and the defaults that depend on nothing; the database is not named yet.
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            storage: StorageConfig {
                acquire_timeout: constants::ACQUIRE_TIMEOUT,
                idle_timeout: constants::IDLE_TIMEOUT,
                max_lifetime: constants::MAX_LIFETIME,
                ..StorageConfig::new("")
            },
            cache: CacheConfig {
                not_found_entries: constants::NOT_FOUND_ENTRIES,
                max_waiting_loads: constants::MAX_WAITING_LOADS,
                max_changes_per_pass: constants::MAX_CHANGES_PER_PASS,
                ..CacheConfig::default()
            },
            shared: SharedConfig {
                connections: constants::REDIS_CONNECTIONS,
                connect_timeout: constants::REDIS_CONNECT_TIMEOUT,
                lease: constants::LEASE,
                max_payload: constants::REDIS_MAX_PAYLOAD,
                bus_queue: constants::BUS_QUEUE,
                remembered: constants::REMEMBERED,
                ..SharedConfig::default()
            },
            redis: RedisParts::default(),
            redis_url: None,
            events: EventsConfig::default(),
            telemetry: TelemetryConfig::default(),
            security: SecurityConfig::default(),
            client: ClientConfig::default(),
            memory: None,
        }
    }
}

/// What a user decides about the commands that call a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The server.
    pub address: http::Uri,
    /// The `CacheAdmin` of a replica.
    pub admin_address: http::Uri,
    /// The authorities in PEM that vouch for the server; `None`: the public ones.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to the server, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
    /// The file with the token that is sent.
    pub token_file: Option<PathBuf>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            address: http::Uri::from_static("http://127.0.0.1:50051"),
            admin_address: http::Uri::from_static("http://127.0.0.1:50052"),
            ca: None,
            certificate: None,
            key: None,
            token_file: None,
        }
    }
}
