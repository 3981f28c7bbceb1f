//! Real servers for tests: started on free ports in directories of their own, stopped whatever happens to the test.
//!
//! ```ignore
//! let server = Postgres::shared().await;
//! let url = server.create_database().await;
//! ```
//!
//! Everything here panics when something is missing or fails, with a message that says what to do: a test has no use for
//! an error that it would only unwrap.

#![allow(clippy::disallowed_methods, reason = "helpers of tests wait for real servers")]

mod client;
mod cluster;
mod gate;
mod guardian;
mod pgbouncer;
mod postgres;
mod proxy;
mod redis;
mod redis_topology;
mod resp;
mod temp;
pub mod wire;

pub use client::{RedisClient, Reply};
pub use cluster::{Cluster, ClusterOptions, Ended, Ports, Replica};
pub use gate::{Gate, HeldAnswer, Passage};
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresOptions, can_mount};
pub use proxy::{Caught, Counts, Faults, HeldSet, LateSet, Proxy};
pub use redis::{Redis, RedisBinary, RedisOptions};
pub use redis_topology::{RedisCluster, RedisSentinel};
pub use temp::{TempDir, free_port};
