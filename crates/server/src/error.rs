//! Why the server could not start.

use std::{io, net::SocketAddr, path::PathBuf};

use larder_storage::StorageError;

/// Why the server could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database cannot be opened.
    #[error("cannot open the database: {0}")]
    Database(#[source] StorageError),
    /// The URL of Redis cannot be used.
    #[error("cannot use Redis: {0}")]
    Redis(String),
    /// A file of TLS or of tokens cannot be used; each text names its setting.
    #[error("{}", .0.join("; "))]
    Security(Vec<String>),
    /// The sample catalogue cannot be loaded.
    #[error("cannot load the sample catalogue: {0}")]
    Sample(String),
    /// The file with the catalogue for an empty database cannot be used.
    #[error("cannot load the catalogue {path}: {reason}")]
    Catalogue {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The addresses cannot be written.
    #[error("cannot write the addresses to {path}: {source}")]
    AddressesFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Spans or metrics cannot be exported.
    #[error("cannot export by OTLP: {0}")]
    Telemetry(String),
    /// A service's description cannot be read.
    #[error("cannot describe the services: {0}")]
    Reflection(String),
    /// The system refuses a resource, such as threads or signals.
    #[error("the system refuses a resource: {0}")]
    System(#[from] io::Error),
}
