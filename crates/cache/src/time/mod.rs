//! Time and randomness, passed in so that tests decide them.

mod clock;
mod jitter;
mod wall_clock;

pub use clock::{Clock, Moment};
pub(crate) use jitter::Jitter;
pub(crate) use wall_clock::now_micros;
