//! Reads: from L1 alone, and through L2 and the database where L1 has no copy to serve.

pub(crate) mod get;
pub(crate) mod get_or_load;
pub(crate) mod loader;
pub(crate) mod read_through;
pub(crate) mod request;
pub(crate) mod single_flight;
pub(crate) mod snapshot;

pub use get::Reader;
pub use request::{Commit, Found, Freshness, Key, Loaded, ReadOptions, Tier, Token};
