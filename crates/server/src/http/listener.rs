//! The HTTP listener and its limits.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tower_service::Service as _;

use crate::net::{
    Acceptor, Capacity, Listener, Peer, Stream,
    places::Places,
    usage::{CallGuard, Usage},
};

/// A bound port.
pub(crate) struct HttpListener {
    listener: Listener,
    acceptor: Acceptor,
}

/// The body of an answer, whose request is in progress up to its last byte.
struct Answer {
    body: Body,
    _request: CallGuard,
}

/// Connections at once. A new one takes the place of one that has no request in progress.
const CAPACITY: Capacity = Capacity { connections: 128, per_peer: 96, spare: 0 };
/// How long a client may take for the headers of a request, and how long it may be silent between two requests.
const HEADERS: Duration = Duration::from_secs(10);
/// Bytes of the headers of one request.
const HEADER_BYTES: usize = 16 << 10;
/// How long a connection without a request may take to end. One that is half-way through its headers does not end by itself.
const GOODBYE: Duration = Duration::from_millis(200);

impl HttpListener {
    /// Binds an address.
    pub(crate) async fn bind(address: SocketAddr, acceptor: Acceptor) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(address).await?, acceptor })
    }

    /// The address that was bound, with the port that was chosen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Serves until the server drains, and then until the requests in progress are answered. Handlers find the other end of their
    /// connection as [`ConnectInfo`], and with its certificate as [`Peer`].
    pub(crate) async fn serve(self, routes: Router, draining: watch::Receiver<bool>) {
        let Self { listener, acceptor } = self;
        let places = Arc::new(Places::new(CAPACITY));
        let mut connections = JoinSet::new();
        let mut ended = pin!(drained(draining.clone()));
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = &mut ended => break,
                _ = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let Some(place) = places.admit(peer) else { continue };
            let (routes, draining, acceptor) = (routes.clone(), draining.clone(), acceptor.clone());
            connections.spawn(async move {
                let served = async {
                    let accepted = tokio::select! {
                        accepted = acceptor.accept(stream) => accepted,
                        () = drained(draining.clone()) => None,
                    };
                    if let Some(accepted) = accepted {
                        serve_one(accepted, place.usage(), routes, draining).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = place.usage().told_to_end() => {}
                    () = served => {}
                }
            });
        }
        // A new connection is refused at once, and does not wait for the requests in progress.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

async fn serve_one(
    (stream, peer): (Stream, Peer),
    usage: &Arc<Usage>,
    routes: Router,
    draining: watch::Receiver<bool>,
) {
    let service = service_fn(async |request: Request<Incoming>| {
        let in_progress = usage.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(peer.clone());
        let response = routes.clone().call(request).await?;
        Ok::<_, Infallible>(response.map(|body| Answer { body, _request: in_progress }))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = &mut connection => done,
        () = drained(draining) => {
            connection.as_mut().graceful_shutdown();
            match timeout(GOODBYE, &mut connection).await {
                Ok(done) => done,
                Err(_elapsed) if !usage.is_idle() => connection.await,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// Waits until the server drains.
async fn drained(mut draining: watch::Receiver<bool>) {
    // An error means that the server has gone.
    let _ = draining.wait_for(|&draining| draining).await;
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
