//! The change log: the loop that reads it, and how far it has been read.

pub(crate) mod commits;
pub(crate) mod follower;
pub(crate) mod progress;

pub use follower::ChangeLog;
