//! Connections: how they are accepted, served and ended.
//!
//! One thread accepts connections and deals them to the others, each of which has a runtime of its own. A connection stays on its
//! thread, so that no reply waits for another core. Connections are spread evenly, which `SO_REUSEPORT` does not promise for few
//! of them.

mod coalesce;
mod connection;
mod workers;

pub use coalesce::Coalesced;
pub use connection::{Connections, Limits, Respond};
pub use workers::{Listener, Worker, Workers};
