//! `WatchProducts`: every committed change is told once, in order, from where the client asks.

mod limits;
mod resume;
mod stream;
mod told;

pub(crate) use stream::Watching;
