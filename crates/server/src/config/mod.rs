//! The configuration: flags over the environment over a TOML file over defaults.
//!
//! One [table](settings) says everything about each setting. [`resolve`] reads all of them and reports everything that is
//! wrong at once, before anything is opened. The typed results stand with what they configure: the server's in
//! [`ServerConfig`], the others in the crates of storage and cache.

mod check;
mod error;
mod file;
mod mask;
mod reload;
mod render;
mod resolve;
mod server;
mod setting;
mod suggest;
mod table;
pub mod value;

#[cfg(test)]
mod tests;

use larder_cache::{CacheConfig, SharedConfig};
use larder_storage::StorageConfig;

pub use error::{ConfigError, ConfigErrors, Origin};
pub use reload::Changes;
pub use render::{effective_json, effective_text, example, markdown};
pub use resolve::{Effective, Purpose, Resolved, Sources, resolve};
pub use server::{Compression, Connections, Deadlines, Limits, LogConfig, LogFormat, ServerConfig};
pub use setting::{Default as DefaultValue, Machine, Scope, Secret, Setting};
pub use table::{RedisParts, SECTIONS, Section, setting, settings};
pub use value::Invalid;

use crate::events::EventsConfig;

/// Everything that an operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// About the server itself.
    pub server: ServerConfig,
    /// About the database.
    pub storage: StorageConfig,
    /// About the cache. Its shared tier is there when `redis_url` is.
    pub cache: CacheConfig,
    /// About the shared tier, whether there is one or not; without its URL.
    pub shared: SharedConfig,
    /// Redis by the parts of its address.
    pub redis: RedisParts,
    /// Redis by its URL.
    pub redis_url: Option<String>,
    /// About events of other systems.
    pub events: EventsConfig,
    /// About the commands that call a server.
    pub client: ClientConfig,
}

impl Default for Config {
    /// The defaults that depend on nothing; the database is not named yet.
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            storage: StorageConfig::new(""),
            cache: CacheConfig::default(),
            shared: SharedConfig::default(),
            redis: RedisParts::default(),
            redis_url: None,
            events: EventsConfig::default(),
            client: ClientConfig::default(),
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
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            address: http::Uri::from_static("http://127.0.0.1:50051"),
            admin_address: http::Uri::from_static("http://127.0.0.1:50052"),
        }
    }
}
