//! Replies of gRPC-Web for fuzzing.

use super::{HeaderMap, HeaderName, HeaderValue, TRAILERS, trailers_message};

/// Reads lines as the trailers of a reply, and writes them as a page reads them.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn grpc_web(input: &[u8]) {
    let trailers = crate::fuzzing::headers(input);
    let message = trailers_message(&trailers);
    let (&[flag, length @ ..], lines) = message.split_first_chunk::<5>().expect("a message has a prefix");
    assert_eq!((flag, u32::from_be_bytes(length) as usize), (TRAILERS, lines.len()));
    let mut read = HeaderMap::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n").expect("each line ends");
        let colon = rest.windows(2).position(|bytes| bytes == b": ").expect("each line has a name");
        let name = HeaderName::from_bytes(&rest[..colon]).expect("a name");
        read.append(name, HeaderValue::from_bytes(&rest[colon + 2..end]).expect("a value"));
        rest = &rest[end + 2..];
    }
    assert_eq!(read, trailers);
}
