//! Messages of Protocol Buffers behind the version of their format.
//!
//! One byte of the format's version, and then a length and the message. What a later release adds to a message, earlier ones
//! skip, so that replicas of both exchange messages while an update rolls.

use prost::Message;

/// Encodes a message.
pub(crate) fn encode(format: u8, message: &impl Message) -> Vec<u8> {
    let body = message.encode_length_delimited_to_vec();
    let mut bytes = Vec::with_capacity(1 + body.len());
    bytes.push(format);
    bytes.extend(body);
    bytes
}

/// Bytes as the message of a format.
#[cfg(feature = "fuzzing")]
pub(crate) fn framed(format: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![format];
    prost::encode_length_delimiter(body.len(), &mut bytes).expect("a vector takes every length");
    bytes.extend_from_slice(body);
    bytes
}

/// Decodes a message; `None` if the bytes have another format, or are more or less than one message.
pub(crate) fn decode<M: Message + Default>(format: u8, bytes: &[u8]) -> Option<M> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != format {
        return None;
    }
    let message = M::decode_length_delimited(&mut rest).ok()?;
    rest.is_empty().then_some(message)
}
