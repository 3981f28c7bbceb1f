//! Corrects the errors that tonic makes itself: each gets the code of the contract and an `ErrorInfo`.
//!
//! tonic's codes and headers decide, and never its texts, which change from release to release.

use http::HeaderMap;
use tonic::{Code, Status};

use super::{status, unknown_method};

/// With this header tonic says which encodings it takes, where it refuses another one.
const ENCODINGS: &str = "grpc-accept-encoding";

/// Corrects an error without details in the headers of a reply. All other headers stay.
pub(in crate::grpc) fn correct_headers(headers: &mut HeaderMap) {
    let Some(made) = without_details(headers) else { return };
    let corrected = match made.code() {
        Code::Unimplemented if headers.contains_key(ENCODINGS) => status(
            Code::Unimplemented,
            "ENCODING_UNSUPPORTED",
            "the message's encoding is not supported; grpc-accept-encoding lists those that are",
        ),
        Code::Unimplemented => unknown_method(),
        // Only the health service looks for something before it replies.
        Code::NotFound => status(Code::NotFound, "UNKNOWN_SERVICE", "there is no service of this name"),
        code => corrected(code),
    };
    // Our own errors fit into headers.
    let _ = corrected.add_header(headers);
}

/// Corrects an error without details in the trailers of a reply.
pub(in crate::grpc) fn correct_trailers(trailers: &mut HeaderMap) {
    let Some(made) = without_details(trailers) else { return };
    let corrected = match made.code() {
        // Only reflection looks for something within a stream. Its text names what the client looked for.
        Code::NotFound => status(Code::NotFound, "UNKNOWN_SYMBOL", made.message()),
        code => corrected(code),
    };
    let _ = corrected.add_header(trailers);
}

/// The error in headers or trailers, if it has no details.
fn without_details(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(Status::GRPC_STATUS)?;
    if code == "0" || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    Status::from_header_map(headers)
}

/// The status of the contract for a status of a codec or of the framing of messages.
pub(in crate::grpc) fn corrected(code: Code) -> Status {
    match code {
        // The codec of the catalogue.
        Code::InvalidArgument => {
            status(Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not a message of this type")
        }
        // The framing, the decompression, and the codec of tonic's own services: a client's mistake each.
        Code::Internal => {
            let text = "the body is not one whole message of this type, compressed as its grpc-encoding says";
            status(Code::InvalidArgument, "MALFORMED_MESSAGE", text)
        }
        // The one for a message as it is sent, the other for a message that is unpacked.
        Code::OutOfRange | Code::ResourceExhausted => {
            status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "the message is larger than the server accepts")
        }
        code => status(code, "PROTOCOL", "the call is not as the protocol of gRPC has it"),
    }
}
