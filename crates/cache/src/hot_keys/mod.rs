//! The keys that are read most, in this replica and in all of them.

pub(crate) mod prefetch;
pub(crate) mod shared;
pub(crate) mod sketch;

pub use sketch::HotKey;
