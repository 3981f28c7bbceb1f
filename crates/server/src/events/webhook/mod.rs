//! The webhook: events by HTTP, signed after the Standard Webhooks specification
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

mod body;
pub(crate) mod signature;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{HeaderValue, StatusCode, header::ALLOW};
use larder_storage::{Invalidating, StorageError};
use tokio::time::timeout;

use self::signature::{Genuine, Unverified, Verifier};
use super::{Event, EventCounts, IngestContext, WallClock, counts::WebhookOutcome, parse_event};
use crate::{catalog::Catalog, config::WebhookConfig, http::Refusal, telemetry::Tracer};

/// Takes webhooks.
pub(super) struct Webhook {
    catalog: Catalog,
    verifier: Verifier,
    clock: WallClock,
    counts: Arc<EventCounts>,
    tracer: Option<Arc<Tracer>>,
}

const PATH: &str = "/webhooks/events";
/// How long it may take to write down what an event says. Senders wait for 15 seconds at the least.
const WRITE: Duration = Duration::from_secs(10);

impl Webhook {
    pub(super) fn new(context: &IngestContext, config: &WebhookConfig) -> Self {
        let IngestContext { catalog, clock, counts, tracer, .. } = context;
        let (catalog, clock, counts) = (catalog.clone(), clock.clone(), Arc::clone(counts));
        Self { catalog, verifier: Verifier::new(config), clock, counts, tracer: tracer.clone() }
    }

    /// The path of webhooks.
    pub(super) fn routes(self) -> Router {
        let webhook = Arc::new(self);
        let respond = async move |request: Request| webhook.respond_traced(request).await;
        Router::new().route(PATH, post(respond).fallback(not_post))
    }

    /// Answers a request within a span, if it is traced. The invalidations on other replicas then name that span.
    async fn respond_traced(&self, request: Request) -> Response {
        let Some(span) = self.tracer.as_ref().and_then(|tracer| tracer.begin_post(request.headers(), PATH)) else {
            return self.respond(request).await;
        };
        let response = span.active().carry(self.respond(request)).await;
        span.end(response.status());
        response
    }

    /// Answers a request: 204 when what its event says is committed, now or by an earlier delivery of its sender.
    async fn respond(&self, request: Request) -> Response {
        match self.take(request).await {
            Ok(outcome) => {
                self.counts.webhook(outcome);
                StatusCode::NO_CONTENT.into_response()
            }
            Err(refusal) => {
                let failed = refusal.status().is_server_error();
                self.counts.webhook(if failed { WebhookOutcome::Failed } else { WebhookOutcome::Refused });
                let (status, reason) = (refusal.status().as_u16(), refusal.reason());
                tracing::info!(status, reason, "webhook refused");
                refusal.into_response()
            }
        }
    }

    async fn take(&self, request: Request) -> Result<WebhookOutcome, Refusal> {
        let (head, body) = request.into_parts();
        let body = body::read(&head.headers, body).await?;
        let Genuine { id, signed } =
            self.verifier.verify(&head.headers, &body, self.clock.now()).map_err(|why| unverified(&why))?;
        let Event { kind, drops } = parse_event(&body).map_err(|violations| Refusal::invalid(&violations))?;
        let entries = drops.len();
        let write = self.catalog.invalidate_once(id.to_owned(), signed, drops);
        let done = match timeout(WRITE, write).await {
            Ok(done) => done.map_err(|error| failed(&error))?,
            Err(_elapsed) => return Err(unavailable("the database takes too long")),
        };
        match done {
            Invalidating::Done => {
                tracing::debug!(id, kind, entries, "webhook taken");
                Ok(WebhookOutcome::Accepted)
            }
            Invalidating::Repeated => {
                tracing::debug!(id, kind, "webhook came again");
                Ok(WebhookOutcome::Repeated)
            }
            // Its sender would have signed it anew: this is a copy that somebody has made.
            Invalidating::Replayed => {
                let text = "this message, or a later one of the same webhook-id, came before; nothing was done. Its sender signs \
                            each attempt anew, with a later webhook-timestamp";
                Err(Refusal::new(StatusCode::CONFLICT, "WEBHOOK_REPLAYED", text))
            }
            Invalidating::RequestIdReused => {
                let text = "another event came with this webhook-id before; nothing was done";
                Err(Refusal::new(StatusCode::CONFLICT, "WEBHOOK_ID_REUSED", text))
            }
        }
    }
}

async fn not_post() -> Response {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "events are sent with POST");
    let mut response = refusal.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn unverified(why: &Unverified) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, why.reason(), why.to_string())
}

/// The sender is to try again with the same id and a new timestamp: whatever became of this attempt, the event has its effect once.
fn failed(error: &StorageError) -> Refusal {
    match error {
        StorageError::Unavailable(_)
        | StorageError::Full(_)
        | StorageError::Overloaded
        | StorageError::Timeout(_)
        | StorageError::Conflict(_)
        | StorageError::UnknownOutcome(_) => {
            tracing::warn!(%error, "webhook not written down");
            unavailable("the database is away or too slow")
        }
        StorageError::Url(_)
        | StorageError::Schema(_)
        | StorageError::Unreadable(_)
        | StorageError::UnreadableReply(_)
        | StorageError::Database(_) => {
            tracing::error!(%error, "webhook not written down");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error; the log says more")
        }
    }
}

fn unavailable(what: &str) -> Refusal {
    let text = format!("{what}; sign the event again, with the same webhook-id, and send it");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", text).retry()
}
