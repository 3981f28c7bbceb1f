//! The wall clock, for measuring alone.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time in microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}
