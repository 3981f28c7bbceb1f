//! The cache through its public interface.

mod capacity;
mod follower;
mod forks;
mod incarnation;
mod incomplete;
mod interleavings;
mod invalidations;
mod learning;
mod loads;
mod negative;
mod policies;
mod prefetch;
mod races;
mod shared;
mod stale;
mod talk;
mod tokens;
mod ttl;

mod support;
