//! The cache through its public interface.

mod applying;
mod capacity;
mod continuity;
mod follower;
mod forks;
mod frame_keys;
mod incarnation;
mod incomplete;
mod interleavings;
mod invalidations;
mod loads;
mod negative;
mod peers;
mod policies;
mod prefetch;
mod races;
mod shared;
mod stale;
mod tokens;
mod topologies;
mod ttl;

mod support;
