//! How a repository reaches its database.

use std::time::Duration;

/// Where the database is and how much of it to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// `postgres://user:password@host:port/database`, `postgresql://…`, or `sqlite:path/to/file.db`. A SQLite file and the
    /// directories above it are created when missing.
    pub url: String,
    /// Connections for statements; 10 by default. PostgreSQL gets at least two, of which writes can take two thirds, one more for
    /// the follower, and one for notifications. SQLite uses them for readers, at
    /// most 8 of them, and has one writer and one follower besides.
    pub max_connections: u32,
    /// How long a statement may wait for a connection, 5 s by default; then it fails as timed out. Also how long the first
    /// connection may take.
    pub acquire_timeout: Duration,
    /// How long a statement may run, 10 s by default; then it fails as timed out. PostgreSQL enforces it itself, but for a COMMIT;
    /// a second later the connection is closed. In SQLite it
    /// bounds reads and the wait for the write lock.
    pub statement_timeout: Duration,
    /// How long an idle connection is kept, 10 minutes by default.
    pub idle_timeout: Duration,
    /// The age at which a connection is replaced, 30 minutes by default: so that failover and load balancing reach all of them.
    pub max_lifetime: Duration,
    /// What PostgreSQL shows as the name of the client; `larder` by default.
    pub application_name: String,
}

impl StorageConfig {
    /// The defaults for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(10),
            max_lifetime: Duration::from_mins(30),
            application_name: "larder".to_owned(),
        }
    }
}
