//! Reading what a webhook carries, within bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::{events::event::LONGEST, http::Refusal};

/// How long it may take to come.
const LIMIT: Duration = Duration::from_secs(10);
/// Of a body that is too large, so much is read and dropped, so that its sender reads the answer rather than a broken
/// connection.
const DROPPED: usize = 1 << 20;

/// Reads a body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LONGEST + DROPPED) {
        return Err(too_large());
    }
    match timeout(LIMIT, read_all(body)).await {
        Ok(read) => read,
        Err(_elapsed) => {
            let text = format!("the body did not come within {} seconds", LIMIT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", text))
        }
    }
}

async fn read_all(mut body: Body) -> Result<Bytes, Refusal> {
    let mut read = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "BODY_CUT_OFF", "the body ended before it was complete"));
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > LONGEST + DROPPED {
            break;
        }
        if length <= LONGEST {
            read.extend_from_slice(&data);
        }
    }
    if length > LONGEST { Err(too_large()) } else { Ok(read.freeze()) }
}

fn too_large() -> Refusal {
    let text = format!("the body may have {LONGEST} bytes; send several events");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", text)
}
