//! The keys that are read most: in this replica, in all replicas together, and among those that have left L1.

mod prefetch;
mod shared;
mod sketch;

pub(crate) use prefetch::Prefetch;
pub(crate) use shared::SharedHotKeys;
pub use sketch::HotKey;
pub(crate) use sketch::{HotKeySketch, sampled};
