//! The page in the browser: what `CacheAdmin` tells, live.
//!
//! The files of the page are part of the program. They call [`CacheAdmin`](crate::grpc::AdminService) in JSON and listen to
//! server-sent events; the figures are those of `GetStats`, made by the same code. `docs/page.md` describes the page.

mod api;
mod assets;
mod events;
mod feed;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod guard;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use self::feed::Feed;
use crate::{grpc::AdminService, metrics::Calls};

/// What the handlers of the page share.
pub(crate) struct Page {
    service: AdminService,
    calls: Arc<Calls>,
    feed: Feed,
    /// One for each browser that may listen at once.
    places: Arc<Semaphore>,
    /// Turns true when the server drains.
    draining: watch::Receiver<bool>,
}

/// Browsers that listen at once; further ones are refused.
const BROWSERS: usize = 16;
/// Bytes of a request. A key has at most 8 KiB, which JSON may write six times as long.
const REQUEST_BYTES: usize = 64 << 10;

/// The routes of the page. Its figures are recorded until the server ends.
pub(crate) fn page(
    service: AdminService,
    calls: Arc<Calls>,
    draining: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Router {
    let places = Arc::new(Semaphore::new(BROWSERS));
    let page = Arc::new(Page { service, calls, feed: Feed::default(), places, draining });
    tasks.spawn(feed::record(Arc::clone(&page)));
    let parts = assets::routes()
        .route("/page/events", get(events::events))
        .route("/page/api/{method}", post(api::call).layer(DefaultBodyLimit::max(REQUEST_BYTES)))
        .layer(middleware::from_fn(guard::own_page_only));
    Router::new()
        .route("/", get(assets::index))
        .merge(parts)
        .layer(middleware::from_fn(guard::known_host_only))
        .with_state(page)
}
