//! gRPC's framing of messages: a flag, four bytes of length, the message ("PROTOCOL-HTTP2.md", Length-Prefixed-Message).

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes before every message.
pub(crate) const PREFIX: usize = 5;

/// A message as it travels: not compressed, behind its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("a message below 4 GiB"));
    message.encode(&mut framed).expect("a buffer of the message's own length");
    framed.freeze()
}

/// The message's length as the prefix tells it; `None` when the prefix is cut off or says that the message is compressed.
pub(crate) fn announced(data: &[u8]) -> Option<usize> {
    let (prefix, _) = data.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = *prefix else { return None };
    usize::try_from(u32::from_be_bytes(length)).ok()
}

/// The one message of a reply; `None` when the bytes are not exactly one frame.
pub(crate) fn unframe(data: &[u8]) -> Option<&[u8]> {
    let message = data.get(PREFIX..)?;
    (announced(data)? == message.len()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_proto::catalog::GetProductRequest;

    #[test]
    fn frames_as_the_protocol_says() {
        let request = GetProductRequest { id: "ab".to_owned(), read: None };
        assert_eq!(&frame(&request)[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&frame(&GetProductRequest::default())[..], [0, 0, 0, 0, 0]);
    }

    #[test]
    fn takes_a_frame_apart() {
        assert_eq!(unframe(&[0, 0, 0, 0, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(unframe(&[0, 0, 0, 0, 0]), Some(&[][..]));
    }

    #[test]
    fn refuses_what_is_not_one_frame() {
        for data in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 1, 7], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 1, 7, 8]] {
            assert_eq!(unframe(data), None, "{data:?}");
        }
    }
}
