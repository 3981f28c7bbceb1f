//! Messages of calls for fuzzing.

use std::time::Duration;

use super::{OneMessage, PREFIX, Room, Unfinished};

/// Reads bytes as the body of a call, in pieces whose size is the first byte.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn grpc_messages(input: &[u8]) {
    let Some((&size, body)) = input.split_first() else { return };
    let pieces = || body.chunks(usize::from(size).max(1));
    let mut message = OneMessage::default();
    let inside = pieces().all(|piece| message.take(piece));
    let length = body.first_chunk::<PREFIX>().map(|&[_, length @ ..]| u32::from_be_bytes(length) as usize);
    assert_eq!(inside, length.is_none_or(|length| body.len() - PREFIX <= length), "one message");

    let room = Room::new(Duration::from_secs(1));
    let (mut whole, mut cut) = (Unfinished::new(room.clone()), Unfinished::new(room));
    let fits = pieces().fold(true, |_, piece| cut.take(piece));
    assert_eq!(whole.take(body) || body.is_empty(), fits || body.is_empty(), "pieces change nothing");
}
