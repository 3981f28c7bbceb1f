//! Who may use the paths of HTTP.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};

use super::Refusal;
use crate::{
    auth::{Called, Caller, Gate, PAGE, Refused},
    net::Peer,
};

/// The calls of `CacheAdmin` that the page makes.
const CALLS: &str = "/page/api/";
/// What a browser asks its user for, and what other clients may send.
const CHALLENGE: &str = "Basic realm=\"larder\", Bearer";

/// Lets only those to the routes whom the rule of this name admits. Handlers find them as `Arc<Caller>`.
pub(crate) fn guarded(routes: Router, gate: &Arc<Gate>, rule: &'static str) -> Router {
    let gate = Arc::clone(gate);
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let gate = Arc::clone(&gate);
        async move { admit(&gate, rule, request, next).await }
    }))
}

async fn admit(gate: &Arc<Gate>, rule: &'static str, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        let text = "the server has a defect; its log describes it";
        tracing::error!("request without its connection");
        return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", text).into_response();
    };
    let request_id = request_id(request.headers());
    let door = gate.http_door(peer.clone());
    let caller = match door.admit(rule, request.headers(), &request_id) {
        Ok(caller) => caller,
        Err(refused) => return refusal(&refused).into_response(),
    };
    let method = request.uri().path().strip_prefix(CALLS).map(str::to_owned);
    if let Some(caller) = &caller {
        request.extensions_mut().insert(Arc::clone(caller));
    }
    let response = next.run(request).await;
    if rule == PAGE
        && let Some(method) = method
    {
        let method: String = method.chars().take(64).collect();
        let call = Called { method: &method, peer: &peer, request_id: &request_id };
        door.record(caller.as_deref(), call, response.status().as_str());
    }
    response
}

/// The caller of a request whom a credential names.
pub(super) fn caller(extensions: &http::Extensions) -> Option<&Arc<Caller>> {
    extensions.get()
}

fn refusal(refused: &Refused) -> Refusal {
    match refused {
        Refused::Unauthenticated(_) => {
            let text = "credentials are missing or not accepted";
            Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", text).challenge(CHALLENGE)
        }
        Refused::Denied(_) => {
            let text = "the caller's role does not allow this";
            Refusal::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", text)
        }
    }
}

/// The id that the client gave the request, if it is fit for a log.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    given.filter(|id| id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic())).unwrap_or_default().to_owned()
}
