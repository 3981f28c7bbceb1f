//! One connection: HTTP/2, or HTTP/1.1 where browsers may call.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::Coalesced;

/// Answers requests.
pub trait Respond: Clone + Send + 'static {
    /// The body of a response.
    type Body: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;
    /// The response to come.
    type Future: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + 'static;

    /// Answers a request.
    fn respond(&self, request: Request<Incoming>) -> Self::Future;
}

/// Limits of every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the listener's queue.
    pub connections: usize,
    /// Streams at once on one connection.
    pub streams: u32,
    /// Bytes of the headers of a request.
    pub header_list: u32,
    /// How long a new connection may stay silent before it says that it speaks HTTP/2.
    pub preface: Duration,
    /// How long a connection may be silent before it is pinged; `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// How long the other end may take to answer a ping.
    pub keepalive_timeout: Duration,
    /// The client is asked to reconnect after this time, so that clients spread over new replicas. Requests in progress end
    /// normally. `None`: never.
    pub max_age: Option<Duration>,
    /// Whether connections may speak HTTP/1.1, as browsers do without TLS.
    pub http1: bool,
}

/// The connections of a server, all threads together.
#[derive(Debug, Clone)]
pub struct Connections {
    limits: Arc<Limits>,
    places: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
}

impl Connections {
    /// No connections yet. When `draining` turns true they end.
    pub fn new(limits: Limits, draining: watch::Receiver<bool>) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { limits: Arc::new(limits), places, draining }
    }

    /// Waits for a place for one more connection; `None` when the server drains.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.draining() => None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
        }
    }

    /// Waits until the server drains.
    pub async fn draining(&self) {
        let mut draining = self.draining.clone();
        // An error means that the server has gone.
        let _ = draining.wait_for(|&draining| draining).await;
    }

    /// Waits until no connection is open.
    pub async fn closed(&self) {
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }

    /// Serves a connection until either side ends it.
    pub async fn serve(self, stream: TcpStream, respond: impl Respond) {
        let limits = &*self.limits;
        tokio::select! {
            biased;
            () = self.draining() => return,
            spoke = timeout(limits.preface, stream.readable()) => if !matches!(spoke, Ok(Ok(()))) { return },
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection ended before it was served");
            return;
        }
        let port = stream.peer_addr().map_or(0, |peer| peer.port());
        let service = hyper::service::service_fn(|request| respond.respond(request));
        let stream = TokioIo::new(Coalesced::new(stream));
        if limits.http1 {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.preface)
                .max_buf_size(limits.header_list as usize);
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(limits.header_list)
                .keep_alive_interval(limits.keepalive_interval)
                .keep_alive_timeout(limits.keepalive_timeout);
            self.drive(builder.serve_connection(stream, service), port).await;
        } else {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(limits.header_list)
                .keep_alive_interval(limits.keepalive_interval)
                .keep_alive_timeout(limits.keepalive_timeout);
            self.drive(builder.serve_connection(stream, service), port).await;
        }
    }

    /// Serves a connection until it ends, and asks it to end when it is old or the server drains.
    async fn drive(
        &self,
        connection: impl GracefulConnection<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        port: u16,
    ) {
        let mut connection = pin!(connection);
        let aged = async {
            match self.limits.max_age {
                Some(age) => sleep(spread(age, port)).await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            done = &mut connection => Some(done),
            () = self.draining() => None,
            () = aged => None,
        };
        let done = match done {
            Some(done) => done,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = done {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// The age at which a connection ends: up to a tenth less or more, by the port of its client, which the system draws. Clients that
/// connected together after an update do not reconnect together.
fn spread(age: Duration, port: u16) -> Duration {
    age * (90 + u32::from(port % 21)) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_moment_end_at_different_ages() {
        let ages: std::collections::BTreeSet<_> =
            (40_000..40_042).map(|port| spread(Duration::from_secs(100), port)).collect();
        assert_eq!(ages.len(), 21);
        assert_eq!(ages.first(), Some(&Duration::from_secs(90)));
        assert_eq!(ages.last(), Some(&Duration::from_secs(110)));
    }
}
