//! Messages of the bus for fuzzing.

use super::{FORMAT, MOST, Message, decode, encode, versioned};

/// Reads bytes as a message: as they are, and behind a right version and length.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn bus_message(input: &[u8]) {
    check(input);
    check(&versioned::framed(FORMAT, input));
}

fn check(bytes: &[u8]) {
    let Ok(Message { incarnation, sender, sent_micros, changes }) = decode(bytes) else { return };
    assert!(bytes.len() <= MOST, "a message above the limit");
    let messages = encode(incarnation, sender, sent_micros, &changes);
    let mut read = Vec::new();
    for message in messages {
        let message = decode(&message).expect("what was read can be written");
        assert_eq!((message.incarnation, message.sender, message.sent_micros), (incarnation, sender, sent_micros));
        read.extend(message.changes);
    }
    assert_eq!(read, changes);
}
