//! Plain and secured connections.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::tls::Secured;

/// Makes the connections of a listener ready to be served.
#[derive(Clone)]
pub struct Acceptor {
    /// `None`: connections are plain.
    secured: Option<watch::Receiver<Arc<Secured>>>,
    protocol: Protocol,
    handshakes: Arc<Handshakes>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Counts handshakes by their outcomes.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    done: AtomicU64,
    failed: AtomicU64,
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate that it showed, and the intermediates. The handshake has verified them.
    pub certificates: Option<Arc<[CertificateDer<'static>]>>,
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// A plain one.
    Plain(TcpStream),
    /// One by TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How long a handshake may take: several round trips around the world.
const HANDSHAKE: Duration = Duration::from_secs(5);

impl Acceptor {
    /// Plain connections.
    pub fn plain() -> Self {
        Self { secured: None, protocol: Protocol::Grpc, handshakes: Arc::default() }
    }

    /// Connections by TLS where there is any, for a protocol.
    pub(crate) fn new(
        secured: Option<watch::Receiver<Arc<Secured>>>,
        protocol: Protocol,
        handshakes: &Arc<Handshakes>,
    ) -> Self {
        Self { secured, protocol, handshakes: Arc::clone(handshakes) }
    }

    /// Makes a connection ready. `None` when its handshake fails, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<(Stream, Peer)> {
        let address = stream.peer_addr().ok()?;
        let Some(secured) = &self.secured else {
            return Some((Stream::Plain(stream), Peer { address, certificates: None }));
        };
        let config = self.protocol.of(&secured.borrow());
        let shaken = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.handshakes.failed(address, &error),
            Err(elapsed) => return self.handshakes.failed(address, &elapsed),
        };
        self.handshakes.done.fetch_add(1, Ordering::Relaxed);
        let shown = stream.get_ref().1.peer_certificates();
        let certificates = shown.map(|shown| shown.iter().map(|one| one.clone().into_owned()).collect());
        Some((Stream::Tls(Box::new(stream)), Peer { address, certificates }))
    }
}

impl Protocol {
    fn of(self, secured: &Secured) -> Arc<ServerConfig> {
        Arc::clone(match self {
            Self::Grpc => &secured.grpc,
            Self::Http => &secured.http,
        })
    }
}

impl Handshakes {
    fn failed<T>(&self, peer: SocketAddr, error: &dyn std::fmt::Display) -> Option<T> {
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, %error, "TLS handshake failed");
        None
    }

    /// The handshakes by their outcomes.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 2] {
        [("done", &self.done), ("failed", &self.failed)].map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
