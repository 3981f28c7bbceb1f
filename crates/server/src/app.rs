//! The server as a whole: everything is built here, in the order in which it depends on each other, and ended here in the
//! opposite one.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use larder_cache::{Cache, Clock, Policies};
use larder_proto::admin::cache_admin_server::CacheAdminServer;
use larder_storage::{ProductRepository as _, Repository, StorageError};
use tokio::{
    runtime::{self, Handle},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    catalog::{Catalog, Copy, Warmed, Warmth},
    config::{Compression, Config, ServerConfig, WatchConfig},
    events::{Around, Events, WallClock},
    grpc::{AdminService, Front, FrontOptions, Identity, compressed},
    net::{Connections, Limits, Listener, Workers},
};

/// Why the server could not be started, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database cannot be opened.
    #[error("cannot open the database: {0}")]
    Database(#[source] StorageError),
    /// Redis cannot be connected to, ever, as its URL stands.
    #[error("cannot use Redis: {0}")]
    Redis(String),
    /// The sample catalogue cannot be loaded.
    #[error("cannot load the sample catalogue: {0}")]
    Sample(String),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The addresses cannot be written.
    #[error("cannot write the addresses to {path}: {source}")]
    AddressesFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A service's description cannot be read.
    #[error("cannot describe the services: {0}")]
    Reflection(String),
    /// Threads, signals or the like cannot be had.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Health checks go by these names; the last are the services' own.
const ALL_SERVING: [&str; 5] = ["", LIVENESS, READINESS, CATALOG, ADMIN];
const CATALOG: &str = "larder.catalog.v1.ProductCatalog";
const ADMIN: &str = "larder.admin.v1.CacheAdmin";
const HEALTH: &str = "/grpc.health.v1.Health/";
const ADMIN_PATH: &str = "/larder.admin.v1.CacheAdmin/";
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";
/// How often it is checked whether the server is ready.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);
/// Batches of products that are read at once before the server is ready.
const WARMED_AT_ONCE: usize = 4;
/// Bytes of headers that a connection takes in at the least, however few a call may have: what is refused is answered as gRPC
/// answers. HTTP/2 itself refuses more than this with a bare 431, and ends the connection at four times as much.
const HEADER_ROOM: u32 = 256 << 10;
/// Within the time to drain, this much is kept for closing the database.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until a signal says to stop. Returns when everything has ended. On SIGHUP `reload` reads the configuration anew, and
/// logs what it found; its policies hold from then on.
pub fn serve(config: Config, reload: impl Fn() -> Option<Policies>) -> Result<(), ServeError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers.clamp(1, 4))
        .thread_name("larder-base")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut stop = Stop::new()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let drain = config.server.deadlines.drain;
        let running = tokio::select! {
            started = Running::start(config, Clock::system()) => started?,
            name = stop.asked() => {
                tracing::info!(signal = name, "stopped before it was ready");
                return Ok(());
            }
        };
        let name = loop {
            tokio::select! {
                name = stop.asked() => break name,
                Some(()) = hangup.recv() => {
                    if let Some(policies) = reload() {
                        running.catalog().cache().set_policies(policies);
                    }
                }
            }
        };
        tracing::info!(signal = name, drain_ms = drain.as_millis(), "draining");
        tokio::select! {
            () = running.stop() => tracing::info!("stopped"),
            name = stop.asked() => tracing::warn!(signal = name, "stopped at once, asked twice"),
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

/// A server that runs.
pub struct Running {
    catalog: Catalog,
    health: HealthReporter,
    serving: Serving,
    /// `CacheAdmin`'s, so that it is reached whatever goes on at the other.
    admin: Option<Serving>,
    events: Events,
    draining: watch::Sender<bool>,
    tasks: JoinSet<()>,
    drain: Duration,
}

impl Running {
    /// Opens the database, reads the change log once, binds the port and says where. Must be called on a runtime that
    /// outlives the server; the database is used on it.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServeError> {
        // What it needs only while it starts is too much for the stack of whoever waits.
        Box::pin(Self::build(config, clock)).await
    }

    async fn build(config: Config, clock: Clock) -> Result<Self, ServeError> {
        let Config { server, storage, cache, events, .. } = config;
        let repository = Repository::connect(&storage).await.map_err(ServeError::Database)?;
        let backend = repository.backend();
        tracing::info!(database = backend.name, version = backend.version, "database open");
        let repository = Arc::new(repository);
        if server.sample_catalogue {
            crate::sample::load(&repository).await.map_err(ServeError::Sample)?;
        }

        let mut tasks = JoinSet::new();
        let started = clock.now();
        #[expect(
            clippy::disallowed_methods,
            reason = "the seed from which all chance in the cache comes, and its name"
        )]
        let instance = rand::random();
        let shared = cache.shared.clone();
        let cache = Cache::sharing(cache, clock, Handle::current(), instance).map_err(ServeError::Redis)?;
        let catalog = start_catalog(&repository, cache, server.watch.clone(), &mut tasks).await;
        warm_up(&catalog, server.warm_on_start, server.warm_timeout).await;
        tasks.spawn(catalog.clone().prefetch());
        tasks.spawn(prune(Arc::clone(&repository), server.change_retention));

        let (health, health_service) = tonic_health::server::health_reporter();
        let health_service = compressed!(health_service, Compression::default());
        for name in ALL_SERVING {
            health.set_service_status(name, ServingStatus::NotServing).await;
        }
        let (draining, drained) = watch::channel(false);
        let (options, limits) = (front_options(&server), limits(&server));
        let front = Front::new(catalog.clone(), options).with(HEALTH, health_service.clone());
        let front = with_reflection(front, CATALOG, server.compression)?;
        let listening =
            Serving::start(server.listen, server.workers, front, limits.clone(), drained.clone(), &mut tasks);
        let serving = listening.await?;
        let identity = Identity { id: instance, name: name_of(serving.address), started };
        catalog.cache().introduce(&identity.name, env!("CARGO_PKG_VERSION"));
        let around = Around {
            catalog: catalog.clone(),
            name: identity.name.clone(),
            seed: instance,
            clock: WallClock::system(),
            draining: drained.clone(),
        };
        let admin = match server.admin_listen {
            None => None,
            Some(listen) => {
                let service = CacheAdminServer::new(AdminService::new(catalog.clone(), identity));
                let service = service.max_decoding_message_size(server.limits.request_bytes);
                let service = compressed!(service, server.compression);
                let front = Front::empty(options).with(ADMIN_PATH, service).with(HEALTH, health_service);
                let front = with_reflection(front, ADMIN, server.compression)?;
                Some(Serving::start(listen, 1, front, limits, drained, &mut tasks).await?)
            }
        };

        let events = Events::open(events, shared.as_ref(), around, &mut tasks).await?;

        for name in ALL_SERVING.into_iter().filter(|&name| name != ADMIN || admin.is_some()) {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        tasks.spawn(watch_readiness(catalog.clone(), health.clone()));
        let admin_address = admin.as_ref().map(|admin| admin.address);
        let http_address = events.http_address();
        tracing::info!(
            catalog = %serving.address,
            admin = admin_address.map(tracing::field::display),
            http = http_address.map(tracing::field::display),
            "listening"
        );
        if let Some(path) = server.addresses_file {
            write_addresses(&path, serving.address, admin_address, http_address)
                .map_err(|source| ServeError::AddressesFile { path, source })?;
        }
        let drain = server.deadlines.drain;
        Ok(Self { catalog, health, serving, admin, events, draining, tasks, drain })
    }

    /// Where the catalogue, health and reflection listen.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// Where `CacheAdmin` listens, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Where webhooks are received, if they are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.events.http_address()
    }

    /// The catalogue.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Tells clients to go elsewhere, lets what is under way end, and ends everything within the time to drain.
    pub async fn stop(mut self) {
        for name in ALL_SERVING.into_iter().filter(|&name| name != LIVENESS) {
            self.health.set_service_status(name, ServingStatus::NotServing).await;
        }
        let _ = self.draining.send(true);
        self.catalog.end_watching();
        // Nobody who watches the health of a server that goes would end the stream; its end is the last news.
        for name in ALL_SERVING {
            self.health.clear_service_status(name).await;
        }
        let closed = async {
            self.serving.connections.closed().await;
            if let Some(admin) = &self.admin {
                admin.connections.closed().await;
            }
            self.events.ended().await;
        };
        if timeout(self.drain.saturating_sub(CLOSE), closed).await.is_err() {
            tracing::warn!("connections cut at the end of the time to drain");
        }
        let _ = timeout(CLOSE / 2, self.catalog.cache().leave()).await;
        self.tasks.shutdown().await;
        for serving in [Some(self.serving), self.admin].into_iter().flatten() {
            if let Ok(workers) = Arc::try_unwrap(serving.workers) {
                let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
            }
        }
        let _ = timeout(CLOSE, self.catalog.repository().close()).await;
    }
}

/// A port that is served.
struct Serving {
    address: SocketAddr,
    connections: Connections,
    workers: Arc<Workers>,
}

impl Serving {
    /// Binds a port, and serves it on threads of its own until `drained` says to stop.
    async fn start(
        listen: SocketAddr,
        threads: usize,
        front: Front,
        limits: Limits,
        drained: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let listener = Listener::bind(listen).await.map_err(|source| ServeError::Listen { address: listen, source })?;
        let address = listener.address();
        let connections = Connections::new(limits, drained);
        let served = connections.clone();
        let workers = Workers::start(threads, move |stream| served.clone().serve(stream, front.clone()))?;
        let workers = Arc::new(workers);
        tasks.spawn(accept(listener, connections.clone(), Arc::clone(&workers)));
        Ok(Self { address, connections, workers })
    }
}

/// What other replicas call the one that listens there.
fn name_of(address: SocketAddr) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", address.port())
}

/// Lets the cache share and follow the change log, and waits for its first look, for a while: a database that is away now
/// may come later.
async fn start_catalog(
    repository: &Arc<Repository>,
    cache: Cache<Copy>,
    watch: WatchConfig,
    tasks: &mut JoinSet<()>,
) -> Catalog {
    tasks.spawn(cache.clone().share());
    let catalog = Catalog::new(cache.clone(), Arc::clone(repository), Handle::current()).with_watch(watch);
    tasks.spawn(cache.clone().follow(Arc::new(catalog.log())));
    if let Err(error) = cache.first_pass().await {
        tracing::warn!(%error, "starting without having read the change log");
    }
    catalog
}

/// Reads what all replicas read most, so that the first readers of this one do not all wait for the database.
async fn warm_up(catalog: &Catalog, most: usize, at_most: Duration) {
    if most == 0 || catalog.cache().shared_tier_up().is_none() {
        return;
    }
    let config = catalog.cache().config();
    let most = most.min(usize::try_from(config.l1_entries).unwrap_or(usize::MAX));
    let mut last = Warmed::default();
    let warming = async {
        while catalog.cache().shared_tier_up() == Some(false) {
            sleep(Duration::from_millis(10)).await;
        }
        let mut progress = catalog.warm(Warmth::Hottest(most), WARMED_AT_ONCE).await;
        while let Some(warmed) = progress.next().await {
            last = warmed;
            // The most read come first; what comes now would drive them out.
            if catalog.cache().stats().bytes > config.l1_bytes / 10 * 9 {
                break;
            }
        }
    };
    let complete = timeout(at_most, warming).await.is_ok();
    tracing::info!(
        complete,
        products = last.done,
        from_redis = last.from_l2,
        from_database = last.from_database,
        "warmed"
    );
}

/// Accepts connections until they are to end.
async fn accept(listener: Listener, connections: Connections, workers: Arc<Workers>) {
    while let Some(place) = connections.place().await {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = connections.draining() => break,
        };
        if let Err(error) = workers.deal(stream, place).await {
            tracing::warn!(%error, "connection not served");
        }
    }
}

/// Forgets what nobody needs any more of the change log.
async fn prune(repository: Arc<Repository>, retention: Duration) {
    let interval = (retention / 12).clamp(Duration::from_secs(1), Duration::from_mins(5));
    loop {
        sleep(interval).await;
        match repository.prune(retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "change log pruned"),
            Err(error) => tracing::warn!(%error, "change log not pruned"),
        }
    }
}

/// Reports the server as ready while it can answer, from the database or from copies that may still be served.
async fn watch_readiness(catalog: Catalog, health: HealthReporter) {
    let limit = catalog.cache().config().max_stale.max(catalog.cache().config().staleness_bound);
    let mut ready = true;
    loop {
        sleep(READINESS_INTERVAL).await;
        let now_ready = catalog.cache().age_of_last_pass().is_some_and(|age| age <= limit);
        if now_ready != ready {
            ready = now_ready;
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            tracing::warn!(ready, "readiness changed");
            for name in ALL_SERVING.into_iter().filter(|&name| name != LIVENESS) {
                health.set_service_status(name, status).await;
            }
        }
    }
}

fn front_options(server: &ServerConfig) -> FrontOptions {
    FrontOptions {
        max_request: server.limits.request_bytes,
        max_response: server.limits.response_bytes,
        compression: server.compression,
        max_headers: server.limits.header_bytes as usize,
        request_default: server.deadlines.request_default,
        request_max: server.deadlines.request_max,
    }
}

fn limits(server: &ServerConfig) -> Limits {
    Limits {
        connections: server.limits.connections,
        streams: server.limits.concurrent_streams,
        header_list: server.limits.header_bytes.saturating_mul(2).max(HEADER_ROOM),
        preface: Duration::from_secs(10),
        keepalive_interval: server.connections.keepalive_interval,
        keepalive_timeout: server.connections.keepalive_timeout,
        max_age: server.connections.max_age,
    }
}

/// Adds both versions of the reflection service, which lists one service of ours.
fn with_reflection(front: Front, service: &str, compression: Compression) -> Result<Front, ServeError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            // Both versions are registered below, so that each lists the other.
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(larder_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            // With these a client such as grpcurl can show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(service)
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection")
    };
    let v1 = builder().build_v1().map_err(reflection_error)?;
    let v1alpha = builder().build_v1alpha().map_err(reflection_error)?;
    Ok(front
        .with("/grpc.reflection.v1.ServerReflection/", compressed!(v1, compression))
        .with("/grpc.reflection.v1alpha.ServerReflection/", compressed!(v1alpha, compression)))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn reflection_error(error: tonic_reflection::server::Error) -> ServeError {
    ServeError::Reflection(error.to_string())
}

/// Writes the addresses whole or not at all: whoever waits for the file never reads half of it.
fn write_addresses(
    path: &PathBuf,
    catalog: SocketAddr,
    admin: Option<SocketAddr>,
    http: Option<SocketAddr>,
) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut addresses = serde_json::json!({ "catalog": catalog.to_string() });
    if let Some(admin) = admin {
        addresses["admin"] = admin.to_string().into();
    }
    if let Some(http) = http {
        addresses["http"] = http.to_string().into();
    }
    std::fs::write(&partial, format!("{addresses}\n"))?;
    std::fs::rename(partial, path)
}

/// The signals that ask a server to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them; returns its name.
    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
