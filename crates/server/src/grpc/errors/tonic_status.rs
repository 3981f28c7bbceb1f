//! Corrects the errors that tonic makes itself: each gets the code of the contract and an `ErrorInfo`.

use http::HeaderMap;
use tonic::{Code, Status};

use super::{deadline, status, unknown_method};

/// Corrects an error without details in the headers or the trailers of a reply. All other headers stay.
pub(in crate::grpc) fn correct(headers: &mut HeaderMap) {
    if let Some((code, message)) = foreign(headers)
        && code != Code::Ok
    {
        // Our own errors fit into headers.
        let _ = corrected(code, &message).add_header(headers);
    }
}

/// The status in the headers, if it has no details.
fn foreign(headers: &HeaderMap) -> Option<(Code, String)> {
    let code = headers.get("grpc-status")?;
    if code == "0" || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let made = Status::from_header_map(headers);
    let message = made.map(|made| made.message().to_owned()).unwrap_or_default();
    Some((Code::from_bytes(code.as_bytes()), message))
}

/// Parts of tonic's messages about a body that ends too early, begins with an unknown flag, or is empty.
const NO_WHOLE_MESSAGE: [&str; 4] = ["EOF", "compression flag", "compressed-flag", "Missing request message"];

/// The status of the contract for a status that tonic made.
pub(in crate::grpc) fn corrected(code: Code, message: &str) -> Status {
    match code {
        // The catalogue's codec says so by the code; the codec of the other services is tonic's.
        Code::InvalidArgument => malformed(),
        Code::Internal if message.contains("decode") => malformed(),
        Code::Internal if message.contains("decompressing") => status(
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
            "the message is not compressed as its grpc-encoding says",
        ),
        Code::OutOfRange | Code::ResourceExhausted
            if message.contains("length too large") || message.contains("decompressing") =>
        {
            status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "the message is larger than the server accepts")
        }
        Code::Internal if NO_WHOLE_MESSAGE.iter().any(|part| message.contains(part)) || message.is_empty() => {
            status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not one whole message")
        }
        Code::Unimplemented if message.contains("ompress") || message.contains("encoding") => status(
            Code::Unimplemented,
            "ENCODING_UNSUPPORTED",
            "the message's encoding is not supported; grpc-accept-encoding lists those that are",
        ),
        Code::Unimplemented => unknown_method(),
        // Of the health service.
        Code::NotFound if message.contains("service") => {
            status(Code::NotFound, "UNKNOWN_SERVICE", "there is no service of this name")
        }
        // Of reflection.
        Code::NotFound => status(Code::NotFound, "UNKNOWN_SYMBOL", message),
        Code::Cancelled if message.contains("imeout") => deadline(),
        code => status(code, "PROTOCOL", message),
    }
}

fn malformed() -> Status {
    status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not a message of this type")
}
