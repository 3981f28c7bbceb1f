//! Threads that serve connections.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::{interval, sleep},
};

use super::throttle::Throttle;

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    failures: Throttle,
}

/// One thread and its share of the connections.
#[derive(Debug)]
pub struct Worker<P> {
    sender: mpsc::Sender<Dealt<P>>,
    open: Arc<AtomicUsize>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// The threads of a server. Each connection comes with a `P`, such as its place among the open ones.
#[derive(Debug)]
pub struct Workers<P>(Vec<Worker<P>>);

/// A connection, not yet bound to a runtime, and what comes with it.
type Dealt<P> = (std::net::TcpStream, P);

/// Connections that wait for their thread.
const QUEUE: usize = 256;
/// How often a thread wakes without cause.
///
/// tokio wakes the thread's driver by a system call for every timer that is earlier than all the others, even when the
/// thread itself sets it, as it does for each call that waits. With this timer always there, those that are not due very
/// soon are never the earliest.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait after a failed accept, as when no file descriptor is left.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

impl Listener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, failures: Throttle::default() })
    }

    /// The address that was bound, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts a connection, and retries after failures. What is written is sent at once.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    // It fails where the other end has gone, which shows soon enough.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) => {
                    if let Some(left_out) = self.failures.allows() {
                        tracing::warn!(%error, left_out, "connection not accepted");
                    }
                    sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
}

impl<P: Send + 'static> Workers<P> {
    /// Starts `count` threads. Each makes a future of every connection that it gets.
    pub fn start<F>(count: usize, serve: impl Fn(TcpStream, P) -> F + Clone + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        (0..count).map(|number| Worker::start(number, serve.clone())).collect::<io::Result<_>>().map(Self)
    }

    /// Deals a connection to the thread that has the fewest.
    pub async fn deal(&self, stream: TcpStream, place: P) -> io::Result<()> {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let stream = stream.into_std()?;
        worker.open.fetch_add(1, Ordering::Relaxed);
        worker.sender.send((stream, place)).await.map_err(|_| io::Error::other("worker has stopped"))
    }

    /// Ends the threads and the remaining connections.
    pub fn stop(self) {
        let threads: Vec<_> = self
            .0
            .into_iter()
            .map(|worker| {
                let _ = worker.stop.send(());
                worker.thread
            })
            .collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl<P: Send + 'static> Worker<P> {
    fn start<F>(number: usize, serve: impl Fn(TcpStream, P) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, mut receiver) = mpsc::channel::<Dealt<P>>(QUEUE);
        let (stop, mut stopped) = oneshot::channel();
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let work = async move {
            let mut tick = interval(TICK);
            loop {
                let (stream, place) = tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    dealt = receiver.recv() => match dealt {
                        Some(dealt) => dealt,
                        None => break,
                    },
                    _ = tick.tick() => continue,
                };
                let open = Open(Arc::clone(&count));
                match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        let served = serve(stream, place);
                        tokio::spawn(async move {
                            served.await;
                            drop(open);
                        });
                    }
                    Err(error) => tracing::warn!(%error, "connection cannot be served"),
                }
            }
        };
        let thread = thread::Builder::new().name(format!("larder-{number}")).spawn(move || runtime.block_on(work))?;
        Ok(Self { sender, open, stop, thread })
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
