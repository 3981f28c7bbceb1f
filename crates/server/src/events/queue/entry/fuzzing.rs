//! Entries of a stream for fuzzing.

use super::{EVENT, Entry, LONGEST_REASON, Parsed};

/// Reads bytes as a reply of Redis with entries, and as the event of one.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn queue_entry(input: &[u8]) {
    if let Ok(value) = redis::parse_redis_value(input)
        && let Some(entries) = Entry::read_all(value)
    {
        entries.iter().for_each(check);
    }
    check(&Entry { id: "1-0".to_owned(), fields: Some(vec![(EVENT.to_vec(), input.to_vec())]) });
}

fn check(entry: &Entry) {
    match entry.parse() {
        Parsed::Event(drops) => assert!(!drops.is_empty()),
        Parsed::Poison(reason) => assert!(reason.len() <= LONGEST_REASON, "{} bytes", reason.len()),
        Parsed::Trimmed => assert!(entry.fields.is_none()),
    }
}
