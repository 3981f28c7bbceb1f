//! Calls of `CacheAdmin` in JSON, by the mapping of Protobuf.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Extension, Path, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use larder_proto::admin::cache_admin_server::CacheAdmin as _;
use prost::Message;
use tonic::{Code, Request, Status};
use tracing::Instrument as _;

use super::{Page, guard};
use crate::{
    auth::Caller,
    http::Refusal,
    json::{message_from_json, message_to_json},
};

const JSON: &str = "application/json";

/// Calls a method: an inspection, or an invalidation by whoever may.
pub(super) async fn call(
    State(page): State<Arc<Page>>,
    peer: ConnectInfo<SocketAddr>,
    caller: Option<Extension<Arc<Caller>>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    // A form of another site cannot send this type; a script would have to ask the browser first, which refuses.
    if headers.get(CONTENT_TYPE).is_none_or(|sent| sent != JSON) {
        let text = "a request is JSON: content-type: application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NOT_JSON", text));
    }
    if caller.is_none()
        && method.starts_with("Invalidate")
        && let Some(why) = guard::refusal(peer, &headers)
    {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "NOT_ON_THIS_MACHINE", why));
    }
    let span = tracing::info_span!("page", peer = %peer.0);
    let reply = dispatch(&page, &method, &body).instrument(span).await?;
    Ok(([(CONTENT_TYPE, JSON)], reply).into_response())
}

async fn dispatch(page: &Page, method: &str, body: &[u8]) -> Result<String, Refusal> {
    let service = &page.service;
    match method {
        "InspectEntry" => unary(method, body, async |asked| service.inspect_entry(asked).await).await,
        "InvalidateKeys" => unary(method, body, async |asked| service.invalidate_keys(asked).await).await,
        "InvalidateCategories" => unary(method, body, async |asked| service.invalidate_categories(asked).await).await,
        "InvalidateTags" => unary(method, body, async |asked| service.invalidate_tags(asked).await).await,
        "InvalidatePattern" => unary(method, body, async |asked| service.invalidate_pattern(asked).await).await,
        "InvalidateAll" => unary(method, body, async |asked| service.invalidate_all(asked).await).await,
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "UNKNOWN_METHOD", "the page calls no such method")),
    }
}

async fn unary<Q, R>(
    method: &str,
    body: &[u8],
    call: impl AsyncFnOnce(Request<Q>) -> Result<tonic::Response<R>, Status>,
) -> Result<String, Refusal>
where
    Q: Message + Default,
    R: Message,
{
    let malformed = |text: String| Refusal::new(StatusCode::BAD_REQUEST, "MALFORMED_MESSAGE", text);
    let text = std::str::from_utf8(body).map_err(|_| malformed("the request is not UTF-8".to_owned()))?;
    let request = message_from_json(&format!("larder.admin.v1.{method}Request"), text).map_err(malformed)?;
    let reply = call(Request::new(request)).await.map_err(|status| refused(&status))?.into_inner();
    message_to_json(&format!("larder.admin.v1.{method}Response"), &reply).map_err(|error| {
        tracing::error!(%error, method, "reply cannot be written as JSON");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the server has a defect; its log describes it")
    })
}

fn refused(status: &Status) -> Refusal {
    let (code, reason) = match status.code() {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::Aborted => (StatusCode::CONFLICT, "ABORTED"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Code::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "OUTCOME_UNKNOWN"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    };
    Refusal::new(code, reason, status.message())
}
