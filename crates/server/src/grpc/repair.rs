//! Puts right the errors that tonic makes itself: each gets the code of the contract and an `ErrorInfo`.

use http::{HeaderMap, Response};
use tonic::{Code, Status, body::Body};

use super::errors;

/// A reply with an error that tonic made: one without details.
pub(super) fn repair(response: Response<Body>) -> Response<Body> {
    match status_of(response.headers()) {
        Some((code, message)) if code != Code::Ok => mended(code, &message).into_http(),
        _ => response,
    }
}

/// The status of a reply that consists of nothing else, if it has no details.
fn status_of(headers: &HeaderMap) -> Option<(Code, String)> {
    let code = headers.get("grpc-status")?;
    if headers.contains_key("grpc-status-details-bin") {
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
        Code::OutOfRange | Code::ResourceExhausted if message.contains("length too large") => errors::status(
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            "the message is larger than the server accepts",
        ),
        Code::Internal if NO_WHOLE_MESSAGE.iter().any(|part| message.contains(part)) || message.is_empty() => {
            errors::status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not one whole message")
        }
        Code::Unimplemented if message.contains("ompress") || message.contains("encoding") => {
            errors::status(Code::Unimplemented, "ENCODING_UNSUPPORTED", "the message's encoding is not supported")
        }
        Code::Unimplemented => unknown_method(),
        // Of the health service, the only one besides the catalogue's that looks for something.
        Code::NotFound => errors::status(Code::NotFound, "UNKNOWN_SERVICE", "there is no service of this name"),
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
