//! The HTTP listener, for webhooks.
//!
//! It speaks HTTP/1.1, which every sender of webhooks does.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::webhook::{Refusal, Webhook};
use crate::net::Listener;

/// A bound port.
#[derive(Debug)]
pub(super) struct Http(Listener);

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 128;
/// How long a client may take for the headers of a request, and how long it may be silent between two requests.
const HEADERS: Duration = Duration::from_secs(30);
/// Bytes of the headers of one request.
const HEADER_BYTES: usize = 16 << 10;
const PATH: &str = "/webhooks/events";

impl Http {
    /// Binds an address.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        Listener::bind(address).await.map(Self)
    }

    /// The address that was bound, with the port that was chosen.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until the server drains, and then until the requests in progress are answered.
    pub(super) async fn serve(self, webhook: Arc<Webhook>, draining: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut drained = pin!(super::drained(draining.clone()));
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (self.0.accept().await, place)
            };
            let (stream, place) = tokio::select! {
                biased;
                () = &mut drained => break,
                _ = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept => accepted,
            };
            let (webhook, draining) = (Arc::clone(&webhook), draining.clone());
            connections.spawn(async move {
                serve_one(stream, webhook, draining).await;
                drop(place);
            });
        }
        while connections.join_next().await.is_some() {}
    }
}

async fn serve_one(stream: TcpStream, webhook: Arc<Webhook>, draining: watch::Receiver<bool>) {
    let busy = AtomicBool::new(false);
    let service = service_fn(async |request| {
        busy.store(true, Ordering::Relaxed);
        let response = respond(&webhook, request).await;
        busy.store(false, Ordering::Relaxed);
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = &mut connection => done,
        // Clients that have not sent a whole request by now are cut off.
        () = super::drained(draining) => if busy.load(Ordering::Relaxed) {
            connection.as_mut().graceful_shutdown();
            connection.await
        } else {
            return;
        },
    };
    if let Err(error) = done {
        tracing::debug!(%error, "connection for webhooks ended");
    }
}

async fn respond(webhook: &Webhook, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        let text = "there is nothing here; events go to POST /webhooks/events";
        return Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", text).response();
    }
    if request.method() != Method::POST {
        let text = "events are sent with POST";
        let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text).response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    webhook.respond(request).await
}
