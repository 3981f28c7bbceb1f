//! The bus: Redis pub/sub, which brings changes to every replica at once. The follower finds the changes that the bus loses.

pub(crate) mod codec;
mod publisher;
mod strangers;
mod subscriber;

pub use publisher::Commit;
pub(crate) use publisher::{Publisher, SharedWrites};
pub(crate) use subscriber::{Subscriber, SubscriberParts};
