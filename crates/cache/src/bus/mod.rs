//! The bus: Redis pub/sub, which brings changes to every replica at once. The follower finds the changes that the bus loses.

mod codec;
mod publisher;
mod strangers;
mod subscriber;

pub use publisher::Commit;
pub(crate) use publisher::Publisher;
pub(crate) use subscriber::{Subscriber, SubscriberParts};

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock in microseconds since 1970, for measuring alone.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}
