//! Events for fuzzing.

use super::{
    event::{LONGEST, MOST_ENTRIES},
    parse_event,
};

/// The longest explanation of what is wrong with an event, in bytes: eight broken rules of 512 bytes for each field and rule.
const LONGEST_REASON: usize = 16 << 10;

/// Reads bytes as an event.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn event(input: &[u8]) {
    match parse_event(input) {
        Ok(event) => assert!((1..=MOST_ENTRIES).contains(&event.drops.len())),
        Err(violations) => {
            let text = violations.to_string();
            assert!(input.len() > LONGEST || text.len() <= LONGEST_REASON, "{} bytes", text.len());
        }
    }
}
