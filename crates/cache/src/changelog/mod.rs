//! The change log: the loop that reads it, how far it has been read, and waiting for a commit to be read.

mod commits;
mod continuity;
mod follower;
mod log;
mod progress;

pub(crate) use commits::Commits;
pub(crate) use continuity::Continuity;
pub(crate) use follower::{Follower, FollowerLimits};
pub use log::ChangeLog;
pub(crate) use progress::Progress;
