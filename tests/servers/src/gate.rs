//! A TCP proxy that knows no protocol, and can be shut.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{Notify, oneshot, watch},
    time::timeout,
};

const CONNECTIONS: usize = 1_024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CHUNK: usize = 64 << 10;
/// How much of what a client said first is kept.
const MOST_SAID: usize = 16 << 10;

/// What a [`Gate`] does with what comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passage {
    /// Everything passes.
    #[default]
    Open,
    /// Nothing passes, and nobody is told: connections stay, new ones are taken. What was on its way passes when the gate
    /// opens again, as on a network that was cut and mended.
    Silent,
    /// New connections are closed at once; old ones end, too.
    Closed,
}

/// A TCP proxy of 127.0.0.1 before a server of any kind. It runs on a thread of its own; dropping it cuts everything.
#[derive(Debug)]
pub struct Gate {
    core: Arc<Core>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// The next answer to a client that asked for something; see [`Gate::hold_answer`]. Dropping it lets the answer pass.
#[derive(Debug)]
pub struct HeldAnswer(oneshot::Receiver<oneshot::Sender<()>>);

impl HeldAnswer {
    /// Waits until the answer has come as far as the gate. It passes when what is returned is dropped. `None` when there was
    /// none before the gate ended.
    pub async fn held(self) -> Option<impl Send + 'static> {
        self.0.await.ok()
    }
}

#[derive(Debug)]
struct Core {
    upstream: Mutex<SocketAddr>,
    passage: watch::Sender<Passage>,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    traps: Mutex<Vec<Trap>>,
}

/// One connection through the gate.
#[derive(Debug, Default)]
struct Link {
    cut: Notify,
    /// Nothing passes any more, and nobody is told.
    forgotten: AtomicBool,
    /// The first that its client said.
    said: Mutex<Vec<u8>>,
}

/// Waits for a client that says `asked`.
#[derive(Debug)]
struct Trap {
    asked: Vec<u8>,
    held: oneshot::Sender<oneshot::Sender<()>>,
}

impl Gate {
    /// Starts an open gate before a server.
    ///
    /// # Panics
    /// When there is no port or thread to be had.
    pub fn start(upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gate")
            .enable_all()
            .build()
            .expect("a thread for the gate");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("the listener's address");
        let core = Arc::new(Core {
            upstream: Mutex::new(upstream),
            passage: watch::channel(Passage::default()).0,
            links: Mutex::default(),
            traps: Mutex::default(),
        });
        runtime.spawn(accept(Arc::clone(&core), listener));
        Self { core, address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of open connections and of new ones from now on.
    pub fn set(&self, passage: Passage) {
        self.core.passage.send_replace(passage);
        if passage == Passage::Closed {
            self.cut_all();
        }
    }

    /// Holds back what the server says next to the client that first says `asked`, with everything behind it on that
    /// connection. What is asked for must be the last that its client says before it waits for the answer.
    ///
    /// # Panics
    /// When nothing is asked for.
    pub fn hold_answer(&self, asked: &[u8]) -> HeldAnswer {
        assert!(!asked.is_empty(), "an answer to nothing");
        let (held, receiver) = oneshot::channel();
        let mut traps = locked(&self.core.traps);
        traps.retain(|trap| !trap.held.is_closed());
        traps.push(Trap { asked: asked.to_vec(), held });
        HeldAnswer(receiver)
    }

    /// Cuts all connections, and returns how many.
    pub fn cut_all(&self) -> usize {
        let links: Vec<_> = self.core.links().values().cloned().collect();
        for link in &links {
            link.cut.notify_one();
        }
        links.len()
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *locked(&self.core.upstream) = upstream;
    }

    /// Forgets the connections that are open, as a firewall does: they stay, nothing passes on them any more, and nobody is told.
    /// New ones are served. Returns how many there are.
    pub fn forget_all(&self) -> usize {
        self.forget(|_| true)
    }

    /// Forgets the connections whose clients said `words` among the first that they said. Returns how many there are.
    pub fn forget_who_said(&self, words: &[u8]) -> usize {
        self.forget(|link| locked(&link.said).windows(words.len()).any(|part| part == words))
    }

    fn forget(&self, which: impl Fn(&Link) -> bool) -> usize {
        let links = self.core.links();
        let forgotten = links.values().filter(|link| !link.forgotten.load(Ordering::SeqCst) && which(link));
        forgotten.map(|link| link.forgotten.store(true, Ordering::SeqCst)).count()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.core.links().len()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

impl Core {
    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        locked(&self.links)
    }

    /// Takes the trap that what a client says springs.
    fn sprung(&self, said: &[u8]) -> Option<Trap> {
        let mut traps = locked(&self.traps);
        let place = traps.iter().position(|trap| said.windows(trap.asked.len()).any(|part| part == trap.asked))?;
        Some(traps.swap_remove(place))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(core: Arc<Core>, listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener for the runtime");
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            // No descriptors, most likely; there may be some again in a moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if *core.passage.borrow() == Passage::Closed || core.links().len() >= CONNECTIONS {
            continue;
        }
        let link = Arc::new(Link::default());
        core.links().insert(number, Arc::clone(&link));
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            tokio::select! {
                _ = connect(&core, &link, client) => {}
                () = link.cut.notified() => {}
            }
            core.links().remove(&number);
        });
    }
}

async fn connect(core: &Core, link: &Link, client: TcpStream) -> io::Result<()> {
    let mut passage = core.passage.subscribe();
    opened(&mut passage).await?;
    let upstream = *locked(&core.upstream);
    let server = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (other, next) = (passage.clone(), Mutex::new(None));
    // The end of one direction is the end of both: none of these servers goes on without its client.
    tokio::select! {
        done = copy(from_client, to_server, passage, Way::Asking { core, link, next: &next }) => done,
        done = copy(from_server, to_client, other, Way::Answering { link, next: &next }) => done,
    }
}

/// A direction, and what it knows of the other one: whose answer is to be held.
#[derive(Clone, Copy)]
enum Way<'a> {
    Asking { core: &'a Core, link: &'a Link, next: &'a Mutex<Option<Trap>> },
    Answering { link: &'a Link, next: &'a Mutex<Option<Trap>> },
}

impl<'a> Way<'a> {
    fn link(self) -> &'a Link {
        match self {
            Self::Asking { link, .. } | Self::Answering { link, .. } => link,
        }
    }

    /// Sees what is about to pass, and returns when it may.
    async fn see(self, said: &[u8]) {
        match self {
            Self::Asking { core, link, next } => {
                let mut first = locked(&link.said);
                let room = MOST_SAID.saturating_sub(first.len()).min(said.len());
                first.extend_from_slice(&said[..room]);
                drop(first);
                if let Some(trap) = core.sprung(said) {
                    *locked(next) = Some(trap);
                }
            }
            Self::Answering { next, .. } => {
                let trap = locked(next).take();
                if let Some(trap) = trap {
                    let (release, released) = oneshot::channel();
                    // Who no longer wants it held has dropped the other end, or will.
                    let _ = trap.held.send(release);
                    let _ = released.await;
                }
            }
        }
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
    way: Way<'_>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await?;
        way.see(&chunk[..count]).await;
        // The end of a connection is something that a silent gate keeps to itself as well.
        opened(&mut passage).await?;
        if way.link().forgotten.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if count == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..count]).await?;
    }
}

async fn opened(passage: &mut watch::Receiver<Passage>) -> io::Result<()> {
    let open = passage.wait_for(|passage| *passage == Passage::Open).await;
    open.map(drop).map_err(|_| io::ErrorKind::NotConnected.into())
}
