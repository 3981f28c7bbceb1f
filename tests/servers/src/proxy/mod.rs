//! A proxy before Redis that breaks what passes, message by message.

mod command;
mod connection;
mod delivery;
mod faults;
mod memory;
mod requests;
mod traps;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{net::TcpStream, runtime::Runtime, sync::Notify, time::timeout};

pub use faults::{Counts, Faults};
use memory::Memory;
use traps::Traps;
pub use traps::{Caught, HeldSet, LateSet};

use crate::client::refuse_itself;

const CONNECTIONS: usize = 4_096;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// A TCP proxy of 127.0.0.1 that knows RESP2 and RESP3, and does to whole replies and pushes what its [`Faults`] say.
///
/// It runs on a thread of its own, so that a test that blocks its own does not hold it up. Dropping it cuts everything.
/// MONITOR and CLIENT REPLY, whose replies are not one for each command, are beyond it.
#[derive(Debug)]
pub struct Proxy {
    core: Arc<Core>,
    address: SocketAddr,
    seed: u64,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts a proxy before a server. Chance begins with `LARDER_TEST_SEED` where that is set; the seed is printed.
    ///
    /// # Panics
    /// When there is no port or thread to be had.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::launch(upstream, Arc::default())
    }

    /// Starts a proxy that replays also what was set through `other`, as another replica's proxy has it.
    ///
    /// # Panics
    /// Like [`Proxy::start`].
    pub fn start_beside(upstream: SocketAddr, other: &Self) -> Self {
        Self::launch(upstream, Arc::clone(&other.core.memory))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// What chance began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        *locked(&self.core.faults)
    }

    /// Puts other faults in force, on open connections as well, from the next message on.
    ///
    /// # Panics
    /// When a probability is none.
    pub fn set(&self, faults: Faults) {
        faults.check();
        *locked(&self.core.faults) = faults;
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        *locked(&self.core.counts)
    }

    /// Catches the next PUBLISH, as if its sender's network had gone at that moment.
    pub fn catch_publish(&self) -> Caught {
        self.catch("PUBLISH")
    }

    /// Catches the next command of a name, as if its sender's network had gone at that moment. Only one is waited for at a time:
    /// this ends the wait for another.
    pub fn catch(&self, name: &'static str) -> Caught {
        locked(&self.core.traps).catch(name)
    }

    /// Holds back the next SET of the key whose name ends with a colon and `name`; one with NX is not meant.
    pub fn hold_set(&self, name: &str) -> HeldSet {
        HeldSet::new(locked(&self.core.traps).set(name), *locked(&self.core.upstream))
    }

    /// Leads new connections to another server, as a failover does.
    pub fn redirect(&self, upstream: SocketAddr) {
        *locked(&self.core.upstream) = upstream;
    }

    /// Cuts all connections, and returns how many.
    pub fn cut_all(&self) -> usize {
        self.core.cut(|_| true)
    }

    /// Cuts the connections that have subscribed, and returns how many.
    pub fn cut_subscribers(&self) -> usize {
        self.core.cut(Link::subscribed)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        locked(&self.core.links).len()
    }

    /// How many of the open connections have subscribed.
    pub fn subscribers(&self) -> usize {
        locked(&self.core.links).values().filter(|link| link.subscribed()).count()
    }

    /// Waits until something holds of this proxy.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < WAIT_LIMIT, "no {what}: {:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn launch(upstream: SocketAddr, memory: Arc<Mutex<Memory>>) -> Self {
        let given = std::env::var("LARDER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(rand::random);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a thread for the proxy");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("the listener's address");
        println!("proxy {address} before {upstream}, seed {seed}");
        let core = Arc::new(Core {
            upstream: Mutex::new(upstream),
            faults: Mutex::default(),
            counts: Mutex::default(),
            memory,
            traps: Mutex::default(),
            links: Mutex::default(),
        });
        runtime.spawn(accept(Arc::clone(&core), listener, seed));
        Self { core, address, seed, runtime: Some(runtime) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Core {
    upstream: Mutex<SocketAddr>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    memory: Arc<Mutex<Memory>>,
    traps: Mutex<Traps>,
    links: Mutex<HashMap<u64, Arc<Link>>>,
}

impl Core {
    fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut locked(&self.counts));
    }

    fn cut(&self, which: impl Fn(&Link) -> bool) -> usize {
        let links: Vec<_> = locked(&self.links).values().filter(|link| which(link)).cloned().collect();
        for link in &links {
            link.cut.notify_one();
        }
        self.count(|counts| counts.cut += links.len() as u64);
        links.len()
    }
}

/// A connection as seen from outside of it.
#[derive(Debug, Default)]
struct Link {
    cut: Notify,
    subscribed: AtomicBool,
}

impl Link {
    fn subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }
}

async fn accept(core: Arc<Core>, listener: TcpListener, seed: u64) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener for the runtime");
    let mut rng = SmallRng::seed_from_u64(seed);
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            // No descriptors, most likely; there may be some again in a moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let refuse = locked(&core.faults).refuse;
        if rng.random_bool(refuse) || locked(&core.links).len() >= CONNECTIONS {
            core.count(|counts| counts.refused += 1);
            continue;
        }
        core.count(|counts| counts.connections += 1);
        let link = Arc::new(Link::default());
        locked(&core.links).insert(number, Arc::clone(&link));
        let (core, rng) = (Arc::clone(&core), SmallRng::seed_from_u64(seed.wrapping_add(number + 1)));
        tokio::spawn(async move {
            tokio::select! {
                _ = connect(&core, &link, client, rng) => {}
                () = link.cut.notified() => {}
            }
            locked(&core.links).remove(&number);
        });
    }
}

async fn connect(core: &Core, link: &Link, client: TcpStream, rng: SmallRng) -> io::Result<()> {
    let upstream = *locked(&core.upstream);
    let server = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await??;
    refuse_itself(&server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    connection::run(core, link, client, server, rng).await
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
