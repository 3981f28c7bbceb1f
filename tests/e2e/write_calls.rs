//! Replies of one connection leave together: it rests on an internal of the HTTP/2 library, so it is counted.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_proto::catalog::{GetProductRequest, Product};
use larder_server::{
    config::Compression,
    grpc::{CallLimits, CatalogRouter, MessageLimits},
    net::{Caller, Coalesced, Respond as _, Standing},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Client, Database, Server, connect, product};

const CALLER: Caller = Caller { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), standing: Standing::Good };
const BURST: usize = 32;
const BURSTS: usize = 100;
const REPLIES: usize = BURST * BURSTS;

/// At most this share of a write for each reply; it would be one for each where replies are not gathered.
const MOST: f64 = 0.3;

#[tokio::test]
async fn many_replies_leave_in_one_write() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(typical()).await;
    server.settle().await;
    let gathered = writes_per_reply(&server, Coalesced::new).await;
    let plain = writes_per_reply(&server, |io| io).await;
    assert!(gathered <= MOST, "{gathered} writes for each reply");
    assert!(gathered < plain / 2.0, "{gathered} writes for each reply, {plain} of a connection as it is");
    server.stop().await;
}

/// The program itself, by the system's account of its writes. That leaves out those of a single buffer, but a reply that
/// is not gathered is written from several.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_program_gathers_replies() {
    let database = Database::sqlite();
    let process = crate::harness::Process::start(&database).await;
    let request = larder_proto::catalog::CreateProductRequest { product: Some(typical()), ..Default::default() };
    process.client().create_product(request).await.expect("a product");
    let mut client = process.client();
    burst(&mut client).await;
    let writes = || {
        let text = std::fs::read_to_string(format!("/proc/{}/io", process.pid())).expect("the system's account");
        let line = text.lines().find_map(|line| line.strip_prefix("syscw: ")).expect("a count of writes");
        line.parse::<usize>().expect("a number")
    };
    let before = writes();
    for _ in 0..BURSTS {
        burst(&mut client).await;
    }
    let share = ratio(writes() - before);
    assert!(share <= MOST, "{share} writes for each reply");
    assert_eq!(process.stop().await.code(), Some(0));
}

/// A reply of some 900 bytes. Those below 256 are gathered in any case.
fn typical() -> Product {
    Product { description: "x".repeat(600), ..product("a") }
}

/// Serves one connection wrapped by `wrap`, and counts what is written to it.
async fn writes_per_reply<T>(server: &Server, wrap: impl FnOnce(Counting) -> T) -> f64
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let calls = CallLimits {
        header_bytes: 16 << 10,
        default_deadline: Duration::from_secs(30),
        max_deadline: Duration::from_secs(30),
        message: Duration::from_secs(30),
    };
    let messages = MessageLimits { max_request: 4 << 20, max_response: 4 << 20, compression: Compression::default() };
    let router = CatalogRouter::for_catalog(server.running().catalog().clone(), calls, messages);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (connecting, accepted) = (connect(address), listener.accept());
    let (channel, accepted) = tokio::join!(connecting, accepted);
    let writes = Arc::new(AtomicUsize::new(0));
    let (stream, _) = accepted.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let io = wrap(Counting { stream, writes: Arc::clone(&writes) });
    tokio::spawn(
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service_fn(move |request| router.respond(request, CALLER))),
    );
    let mut client = Client::new(channel);
    burst(&mut client).await;
    let before = writes.load(Ordering::SeqCst);
    for _ in 0..BURSTS {
        burst(&mut client).await;
    }
    ratio(writes.load(Ordering::SeqCst) - before)
}

/// As many calls at once as there are in a burst.
async fn burst(client: &mut Client) {
    let replies = join_all((0..BURST).map(|_| {
        let mut client = client.clone();
        async move { client.get_product(GetProductRequest { id: "a".to_owned(), read: None }).await }
    }));
    for reply in replies.await {
        reply.expect("the product");
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(writes: usize) -> f64 {
    writes as f64 / REPLIES as f64
}

/// A socket that counts its writes.
struct Counting {
    stream: TcpStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
