//! Ports, and the threads that serve them.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::security::Security;
use crate::{
    config::{Config, ServerConfig, WebOrigins},
    error::ServeError,
    grpc::CatalogRouter,
    http::{HttpListener, with_limits},
    net::{Acceptor, Capacity, Connections, Limits, Listener, Place, Protocol, Workers, places_for},
};

/// The least limit of HTTP/2 on the headers of a connection. It is far above the server's own limit, so that the server refuses a
/// call in gRPC's own way: HTTP/2 refuses more headers with a bare 431, and ends the connection at four times as many.
const HEADER_ROOM: u32 = 256 << 10;

/// A port to serve.
pub(super) struct Port {
    pub(super) listen: SocketAddr,
    pub(super) threads: usize,
    pub(super) router: CatalogRouter,
}

/// A port that is served.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    connections: Connections,
    workers: Arc<Workers<Place>>,
}

impl Serving {
    /// Binds a port, and serves it on threads of its own until its connections are told to end.
    pub(super) async fn start(
        port: Port,
        connections: Connections,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let Port { listen, threads, router } = port;
        let listener = Listener::bind(listen).await.map_err(|source| ServeError::Listen { address: listen, source })?;
        let address = listener.address();
        let served = connections.clone();
        let workers =
            Workers::start(threads, move |stream, place| served.clone().serve(stream, place, router.clone()))?;
        let workers = Arc::new(workers);
        tasks.spawn(accept(listener, connections.clone(), Arc::clone(&workers)));
        Ok(Self { address, connections, workers })
    }

    /// Waits until every connection has ended.
    pub(super) async fn closed(&self) {
        self.connections.closed().await;
    }

    /// Ends the threads, once nothing accepts connections any more.
    pub(super) async fn stop(self) {
        if let Ok(workers) = Arc::try_unwrap(self.workers) {
            let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
        }
    }
}

/// The HTTP port. It is served on the runtime that uses the database.
pub(super) struct HttpServing {
    pub(super) address: SocketAddr,
    /// Ends with the last connection.
    running: mpsc::Receiver<Infallible>,
}

impl HttpServing {
    /// Binds a port, and serves it until the server drains.
    pub(super) async fn start(
        listen: SocketAddr,
        acceptor: Acceptor,
        routes: axum::Router,
        draining: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let listener = HttpListener::bind(listen, acceptor).await;
        let listener = listener.map_err(|source| ServeError::Listen { address: listen, source })?;
        let address = listener.address();
        let (guard, running) = mpsc::channel(1);
        tasks.spawn(async move {
            listener.serve(with_limits(routes), draining).await;
            drop(guard);
        });
        Ok(Self { address, running })
    }

    /// Waits until every connection has ended.
    pub(super) async fn closed(&mut self) {
        self.running.recv().await;
    }
}

/// Connections to `CacheAdmin` at once: it has few clients, and some of them probe its health.
const ADMIN_CONNECTIONS: usize = 128;
/// Connections to the catalogue beyond `max-connections` that get an answer from health checks.
const SPARE: usize = 64;

/// The connections of the catalogue's port, which end when `draining` turns true.
pub(super) fn catalog_connections(
    config: &Config,
    security: &Security,
    draining: &watch::Receiver<bool>,
) -> Connections {
    let databases = config.storage.max_connections as usize + DATABASE_EXTRAS;
    let connections = places_for(config.server.limits.connections, databases);
    let capacity = Capacity { connections, per_peer: share(connections), spare: SPARE };
    Connections::new(security.acceptor(Protocol::Grpc), limits(&config.server, capacity), draining.clone())
}

/// The connections of the port of `CacheAdmin`.
pub(super) fn admin_connections(config: &Config, security: &Security, draining: &watch::Receiver<bool>) -> Connections {
    let capacity = Capacity { connections: ADMIN_CONNECTIONS, per_peer: share(ADMIN_CONNECTIONS), spare: 0 };
    Connections::new(security.acceptor(Protocol::Grpc), limits(&config.server, capacity), draining.clone())
}

/// Descriptors of a database beside its connections for statements: the follower, a listener, and the files of SQLite.
const DATABASE_EXTRAS: usize = 32;

/// One peer may take three quarters of the places: a proxy may stand for all clients, and one broken client must not.
fn share(connections: usize) -> usize {
    (connections * 3).div_ceil(4)
}

fn limits(config: &ServerConfig, capacity: Capacity) -> Limits {
    Limits {
        capacity,
        streams: config.limits.concurrent_streams,
        header_list: config.limits.header_bytes.saturating_mul(2).max(HEADER_ROOM),
        greeting: config.connections.greeting,
        keepalive_interval: config.connections.keepalive_interval,
        keepalive_timeout: config.connections.keepalive_timeout,
        max_age: config.connections.max_age,
        http1: config.web_origins != WebOrigins::None,
    }
}

/// Accepts connections until the server drains.
async fn accept(listener: Listener, connections: Connections, workers: Arc<Workers<Place>>) {
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.draining() => break,
        };
        // Without a place the connection is closed: its client tries again.
        let Some(place) = connections.admit(peer) else { continue };
        if let Err(error) = workers.deal(stream, place).await {
            tracing::warn!(%error, "connection not served");
        }
    }
}
