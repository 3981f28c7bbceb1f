//! What is answered at every path.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use tokio::{sync::watch, time::timeout};

use super::Refusal;

/// How long it may take until the head of an answer is known. Longer than the parts of a webhook together: 10 seconds for its body,
/// and 10 seconds for its rows.
const ANSWER: Duration = Duration::from_secs(30);

/// Tells whether the process is alive, and whether it is ready to serve.
pub(crate) fn probes(ready: watch::Receiver<bool>) -> Router {
    let readyz = async move || {
        let (status, text) = if *ready.borrow() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        };
        (status, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))], text)
    };
    Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(readyz))
}

/// Adds what holds for every path: a time limit, and an answer where there is nothing.
pub(crate) fn with_limits(routes: Router) -> Router {
    routes.fallback(nothing_here).layer(middleware::from_fn(in_time))
}

async fn nothing_here() -> Refusal {
    let text = "there is nothing here; events go to POST /webhooks/events";
    Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", text)
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            let text = format!("there was no answer within {} seconds", ANSWER.as_secs());
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT", text).into_response()
        }
    }
}
