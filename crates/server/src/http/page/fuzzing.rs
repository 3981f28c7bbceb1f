//! Requests to the page for fuzzing.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use larder_proto::admin;

use super::guard;
use crate::{
    fuzzing::{headers, parts},
    json::{message_from_json, message_to_json},
};

const KEYS: &str = "larder.admin.v1.InvalidateKeysRequest";
const INSPECT: &str = "larder.admin.v1.InspectEntryRequest";

/// Reads lines as the headers of a request, and a text as its message.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn page(input: &[u8]) {
    let [lines, body] = parts::<2>(input);
    let headers = headers(lines);
    let far = SocketAddr::from(([192, 0, 2, 1], 40_000));
    assert!(guard::refusal(ConnectInfo(far), &headers).is_some(), "from another machine");
    let _ = guard::refusal(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))), &headers);
    let text = String::from_utf8_lossy(body);
    if let Ok(request) = message_from_json::<admin::InvalidateKeysRequest>(KEYS, &text) {
        let written = message_to_json(KEYS, &request).expect("what was read can be written");
        assert_eq!(message_from_json(KEYS, &written), Ok(request));
    }
    let _ = message_from_json::<admin::InspectEntryRequest>(INSPECT, &text);
}
