//! Connections: who accepts them, which thread serves them, and how they end.
//!
//! One thread accepts; each of the others runs a runtime of its own and is dealt the connections it serves. A connection
//! stays on its thread, so that no reply waits for another core, and connections are spread evenly, which
//! `SO_REUSEPORT` does not promise for few of them.

mod coalesce;
mod connection;
mod workers;

pub use coalesce::Coalesced;
pub use connection::{Connections, Limits, Respond};
pub use workers::{Listener, Worker, Workers};
