//! Connections: how they are accepted, served and ended.
//!
//! One thread accepts connections and deals them to the others, each of which has a runtime of its own. A connection stays on its
//! thread, so that no reply waits for another core. Connections are spread evenly, which `SO_REUSEPORT` does not promise for few
//! of them.

mod accept;
mod coalesce;
mod connection;
mod descriptors;
pub(crate) mod frames;
pub(crate) mod places;
mod replies;
mod streams;
mod throttle;
pub(crate) mod usage;
mod workers;

pub use accept::{Acceptor, Peer, Stream};
pub(crate) use accept::{Handshakes, Protocol};
pub use coalesce::Coalesced;
pub use connection::{Caller, Connections, Limits, Respond, Standing};
pub(crate) use descriptors::{places_for, raise_limit};
pub use places::{Capacity, Place};
pub(crate) use replies::limit_reply;
pub use workers::{Listener, Worker, Workers};
