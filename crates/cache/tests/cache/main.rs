//! The cache through its public interface.

mod capacity;
mod follower;
mod incarnation;
mod interleavings;
mod learning;
mod loads;
mod negative;
mod shared;
mod stale;
mod tokens;
mod ttl;

mod support;
