//! Puts right the errors that tonic makes itself: each gets the code of the contract and an `ErrorInfo`.

use http::HeaderMap;
use tonic::{Code, Status};

use super::errors;

/// Puts right an error without details in the headers of a reply, or its trailers. Whatever else they say stays.
pub(super) fn repair(headers: &mut HeaderMap) {
    if let Some((code, message)) = foreign(headers)
        && code != Code::Ok
    {
        // An error of ours is made of what a header may hold.
        let _ = mended(code, &message).add_header(headers);
    }
}

/// The status that stands there, if it has no details.
fn foreign(headers: &HeaderMap) -> Option<(Code, String)> {
    let code = headers.get("grpc-status")?;
    if code == "0" || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers);
    let message = status.map(|status| status.message().to_owned()).unwrap_or_default();
    Some((Code::from_bytes(code.as_bytes()), message))
}

/// What tonic says of a body that ends too early, begins with no known flag, or is empty.
const NO_WHOLE_MESSAGE: [&str; 4] = ["EOF", "compression flag", "compressed-flag", "Missing request message"];

/// A status that tonic made, in the words of the contract.
pub(super) fn mended(code: Code, message: &str) -> Status {
    match code {
        Code::Internal if message.contains("decode") => {
            errors::status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not a message of this type")
        }
        Code::Internal if message.contains("decompressing") => errors::status(
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
            "the message is not compressed as its grpc-encoding says",
        ),
        Code::OutOfRange | Code::ResourceExhausted
            if message.contains("length too large") || message.contains("decompressing") =>
        {
            errors::status(
                Code::ResourceExhausted,
                "MESSAGE_TOO_LARGE",
                "the message is larger than the server accepts",
            )
        }
        Code::Internal if NO_WHOLE_MESSAGE.iter().any(|part| message.contains(part)) || message.is_empty() => {
            errors::status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not one whole message")
        }
        Code::Unimplemented if message.contains("ompress") || message.contains("encoding") => errors::status(
            Code::Unimplemented,
            "ENCODING_UNSUPPORTED",
            "the message's encoding is not supported; grpc-accept-encoding lists those that are",
        ),
        Code::Unimplemented => unknown_method(),
        // Of the health service.
        Code::NotFound if message.contains("service") => {
            errors::status(Code::NotFound, "UNKNOWN_SERVICE", "there is no service of this name")
        }
        // Of reflection.
        Code::NotFound => errors::status(Code::NotFound, "UNKNOWN_SYMBOL", message),
        Code::Cancelled if message.contains("imeout") => deadline(),
        code => errors::status(code, "PROTOCOL", message),
    }
}

/// A method that does not exist.
pub(super) fn unknown_method() -> Status {
    errors::status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method; reflection lists those there are")
}

/// A call whose time is up.
pub(super) fn deadline() -> Status {
    errors::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline of the call has passed")
}

/// A call of a method that takes one message, with more of them.
pub(super) fn second_message() -> Status {
    errors::status(Code::InvalidArgument, "SECOND_MESSAGE", "this method takes one message, and the call has more")
}

/// A call with more headers than the server reads.
pub(super) fn headers_too_large(size: usize, most: usize) -> Status {
    let text = format!("the call's headers are {size} bytes, with 32 for each; the server accepts {most}");
    errors::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", &text)
}

/// A call whose messages are of another encoding than Protocol Buffers.
pub(super) fn content_subtype() -> Status {
    let text = "messages must be Protocol Buffers: content-type application/grpc or application/grpc+proto";
    errors::status(Code::Unimplemented, "CONTENT_TYPE_UNSUPPORTED", text)
}
