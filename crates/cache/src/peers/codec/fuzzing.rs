//! Messages between replicas for fuzzing.

use super::{Envelope, FORMAT, Introduction, MOST_BYTES, PeerMessage, Query, versioned};

/// Reads bytes as a message: as they are, and behind a right version and length.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn peer_message(input: &[u8]) {
    check(input);
    check(&versioned::framed(FORMAT, input));
}

fn check(bytes: &[u8]) {
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    match &envelope.message {
        PeerMessage::Join(Introduction { name, version }) | PeerMessage::Heartbeat(Introduction { name, version }) => {
            assert!(name.len() <= Introduction::MOST && version.len() <= Introduction::MOST);
        }
        PeerMessage::Question { query: Query::Server(bytes), .. } | PeerMessage::Answer { answer: Some(bytes), .. } => {
            assert!(bytes.len() <= MOST_BYTES);
        }
        PeerMessage::Leave | PeerMessage::Question { .. } | PeerMessage::Answer { .. } => {}
    }
    assert_eq!(Envelope::decode(&envelope.encode()).as_ref(), Ok(&envelope));
}
