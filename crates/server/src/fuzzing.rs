//! What fuzzing calls: one function for each parser of bytes from outside. Each takes any bytes, and panics where the parser breaks
//! one of its promises.

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::{
    auth::{
        certificate::fuzzing::certificate,
        fuzzing::{authorization, jwks, jwt},
    },
    config::fuzzing::{config_file, url_mask, value},
    contract::{
        fuzzing::{copy_key, list_request, product, session, token, watch_position},
        page::fuzzing::page_token,
    },
    events::{fuzzing::event, queue::entry::fuzzing::queue_entry, webhook::signature::fuzzing::webhook},
    grpc::call::{body::fuzzing::grpc_messages, fuzzing::call_headers, web::fuzzing::grpc_web},
    http::page::fuzzing::page,
    net::frames::fuzzing::http2_frames,
    telemetry::fuzzing::trace_headers,
};

/// The parts of an input, which a NUL separates; the last one takes the rest.
pub(crate) fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |&byte| byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The parts of an input as text.
pub(crate) fn texts<const N: usize>(input: &[u8]) -> [String; N] {
    parts(input).map(|part| String::from_utf8_lossy(part).into_owned())
}

/// The lines of an input as headers, a name and a value each. What HTTP does not let through is left out.
pub(crate) fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|&byte| byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
