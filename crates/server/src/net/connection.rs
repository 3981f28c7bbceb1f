//! One connection: HTTP/2, or HTTP/1.1 where browsers may call.

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

use super::{
    Acceptor, Coalesced, Peer,
    frames::{PREFACE, PREFACE_TEXT, Watched},
    places::{Capacity, Place, Places},
    replies::{Counted, Unsent},
    streams::Streams,
    usage::{CallGuard, Stage, Usage},
};

/// Answers requests.
pub trait Respond: Clone + Send + 'static {
    /// The body of a response.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;
    /// The response to come.
    type Future: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + Unpin + 'static;

    /// What answers the requests of one connection.
    #[must_use]
    fn connected(self, _peer: Peer) -> Self {
        self
    }

    /// Answers a request.
    fn respond(&self, request: Request<Incoming>, caller: Caller) -> Self::Future;
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The other end of the connection, as far as addresses tell machines apart.
    pub peer: IpAddr,
    /// What the connection may ask for.
    pub standing: Standing,
}

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Good,
    /// Health alone: the connection came when all places were taken.
    Spare,
    /// Nothing until the client has read the replies that it has.
    Unread,
}

/// Limits of every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be.
    pub capacity: Capacity,
    /// Streams at once on one connection.
    pub streams: u32,
    /// Bytes of the headers of a request.
    pub header_list: u32,
    /// How long a new connection may take until its preface and its settings have come.
    pub greeting: Duration,
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
#[derive(Clone)]
pub struct Connections {
    acceptor: Acceptor,
    limits: Arc<Limits>,
    places: Arc<Places>,
    unsent: Unsent,
    draining: watch::Receiver<bool>,
}

/// How long a connection without a call in progress may take to end: long enough for a client to hear of it.
const GOODBYE: Duration = Duration::from_millis(500);
/// Bytes of a reply that HTTP/2 takes before the socket does. More waits with its call.
const SEND_BUFFER: usize = 64 << 10;
/// A connection with unsent bytes of which nothing leaves for this long is cut.
const STALL: Duration = Duration::from_secs(30);

impl Connections {
    /// No connections yet. When `draining` turns true they end.
    pub fn new(acceptor: Acceptor, limits: Limits, draining: watch::Receiver<bool>) -> Self {
        let places = Arc::new(Places::new(limits.capacity));
        Self { acceptor, limits: Arc::new(limits), places, unsent: Unsent::default(), draining }
    }

    /// Finds a place for one more connection; `None` when it is to be refused.
    pub fn admit(&self, peer: SocketAddr) -> Option<Place> {
        self.places.admit(peer)
    }

    /// Waits until the server drains.
    pub async fn draining(&self) {
        let mut draining = self.draining.clone();
        // An error means that the server has gone.
        let _ = draining.wait_for(|&draining| draining).await;
    }

    /// Waits until no connection is open.
    pub async fn closed(&self) {
        self.places.empty().await;
    }

    /// Serves a connection until either side ends it.
    pub async fn serve(self, stream: TcpStream, place: Place, respond: impl Respond) {
        let usage = Arc::clone(place.usage());
        let mut overdue = pin!(greeting_overdue(self.limits.greeting, &usage));
        // A connection that says nothing costs no more than its socket.
        let first = tokio::select! {
            biased;
            () = self.draining() => return,
            () = usage.told_to_end() => return,
            () = &mut overdue => return,
            first = async {
                let (mut stream, peer) = self.acceptor.accept(stream).await?;
                let first = first_bytes(&mut stream).await.ok()?;
                Some((stream, peer, first))
            } => first,
        };
        let Some((stream, peer, first)) = first else { return };
        let respond = respond.connected(peer);
        let standing = if place.is_spare() { Standing::Spare } else { Standing::Good };
        let service = service_fn(|request| {
            let call = usage.begin();
            let standing = if self.unsent.admits(&usage) { standing } else { Standing::Unread };
            Answered {
                answer: respond.respond(request, Caller { peer: place.peer(), standing }),
                call: Some((call, self.unsent.clone())),
            }
        });
        if self.limits.http1 && !PREFACE_TEXT.starts_with(&first) {
            usage.greet();
            let watched = Watched::without_frames(stream, first, Arc::clone(&usage));
            let connection = self.http1().serve_connection(TokioIo::new(Coalesced::new(watched)), service);
            self.drive(connection, &place, overdue).await;
        } else {
            let watched = Watched::new(stream, first, Arc::clone(&usage));
            let connection = self.http2().serve_connection(TokioIo::new(Coalesced::new(watched)), service);
            self.drive(connection, &place, overdue).await;
        }
    }

    /// Serves a connection until it ends, and asks it to end when it is old, when the server drains, or when its place is needed.
    async fn drive(
        &self,
        connection: impl GracefulConnection<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        place: &Place,
        mut overdue: Pin<&mut impl Future<Output = ()>>,
    ) {
        let usage = place.usage();
        let mut connection = pin!(connection);
        let done = tokio::select! {
            done = &mut connection => Some(done),
            () = self.draining() => None,
            () = usage.told_to_end() => None,
            () = self.aged(place) => None,
            () = &mut overdue => return,
            () = stalled(usage) => {
                tracing::info!("connection cut: its client does not read its replies");
                return;
            }
        };
        let done = match done {
            Some(done) => done,
            // Nothing is lost with a connection that had no call.
            None if usage.stage() < Stage::Called => return,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    done = connection => done,
                    () = idle(usage) => return,
                }
            }
        };
        if let Err(error) = done {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::debug!(%error, "connection ended");
        }
    }

    fn http1(&self) -> http1::Builder {
        let limits = &*self.limits;
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.greeting).max_buf_size(limits.header_list as usize);
        builder
    }

    fn http2(&self) -> http2::Builder<Streams> {
        let limits = &*self.limits;
        let mut builder = http2::Builder::new(Streams::default());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_list)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }

    async fn aged(&self, place: &Place) {
        match self.limits.max_age {
            Some(age) => sleep(spread(age, place.number())).await,
            None => pending().await,
        }
    }
}

/// Reads the beginning of the preface.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut first = BytesMut::with_capacity(PREFACE);
    if stream.read_buf(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(first.freeze())
}

/// Returns when a client has not greeted in time, and never when it has.
async fn greeting_overdue(limit: Duration, usage: &Usage) {
    sleep(limit).await;
    if usage.stage() >= Stage::Greeted {
        pending::<()>().await;
    }
}

/// Returns when nothing of the unsent bytes leaves.
async fn stalled(usage: &Usage) {
    loop {
        let sent = usage.sent();
        sleep(STALL).await;
        if usage.unsent() > 0 && usage.sent() == sent {
            return;
        }
    }
}

/// Returns when no call is in progress, and the client has had time to hear of the end.
async fn idle(usage: &Usage) {
    loop {
        sleep(GOODBYE).await;
        if usage.is_idle() {
            return;
        }
    }
}

/// An answer to come, whose call is in progress until its body has left.
struct Answered<F> {
    answer: F,
    /// Taken when the answer has come.
    call: Option<(CallGuard, Unsent)>,
}

impl<F, B> Future for Answered<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match Pin::new(&mut this.answer).poll(cx) {
            Poll::Ready(Ok(response)) => {
                let (call, unsent) = this.call.take().expect("a future that is ready once");
                Poll::Ready(Ok(response.map(|body| Counted::new(body, call, unsent))))
            }
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The age at which a connection ends: up to a tenth less or more, by its number. Clients that connected together after an update do
/// not reconnect together.
fn spread(age: Duration, number: u64) -> Duration {
    const STEPS: u64 = 21;
    let step = (number % STEPS) as u32;
    age * (90 + step) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_moment_end_at_different_ages() {
        let ages: std::collections::BTreeSet<_> =
            (1_000..1_042).map(|number| spread(Duration::from_secs(100), number)).collect();
        assert_eq!(ages.len(), 21);
        assert_eq!(ages.first(), Some(&Duration::from_secs(90)));
        assert_eq!(ages.last(), Some(&Duration::from_secs(110)));
    }
}
