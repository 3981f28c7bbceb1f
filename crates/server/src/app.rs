//! The server as a whole: everything is built here, in the order in which it depends on each other, and ended here in the
//! opposite one.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use larder_cache::{Cache, CacheConfig, Clock};
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
    catalog::{Catalog, WatchConfig},
    config::{Config, ServerConfig},
    grpc::{Front, FrontOptions},
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

/// Health checks go by these names; the last is the service's own.
const ALL_SERVING: [&str; 4] = ["", LIVENESS, READINESS, "larder.catalog.v1.ProductCatalog"];
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";
/// How often it is checked whether the server is ready.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);
/// Within the time to drain, this much is kept for closing the database.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until a signal says to stop. Returns when everything has ended.
pub fn serve(config: Config) -> Result<(), ServeError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers.clamp(1, 4))
        .thread_name("larder-base")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut stop = Stop::new()?;
        let drain = config.server.deadlines.drain;
        let running = tokio::select! {
            started = Running::start(config, Clock::system()) => started?,
            name = stop.asked() => {
                tracing::info!(signal = name, "stopped before it was ready");
                return Ok(());
            }
        };
        let name = stop.asked().await;
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
    address: SocketAddr,
    catalog: Catalog,
    health: HealthReporter,
    connections: Connections,
    draining: watch::Sender<bool>,
    workers: Arc<Workers>,
    tasks: JoinSet<()>,
    drain: Duration,
}

impl Running {
    /// Opens the database, reads the change log once, binds the port and says where. Must be called on a runtime that
    /// outlives the server; the database is used on it.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServeError> {
        let Config { server, storage, cache, .. } = config;
        let repository = Repository::connect(&storage).await.map_err(ServeError::Database)?;
        let backend = repository.backend();
        tracing::info!(database = backend.name, version = backend.version, "database open");
        let repository = Arc::new(repository);
        if server.sample_catalogue {
            crate::seed::load(&repository).await.map_err(ServeError::Sample)?;
        }

        let mut tasks = JoinSet::new();
        let catalog = Box::pin(start_catalog(&repository, cache, server.watch.clone(), clock, &mut tasks)).await?;
        tasks.spawn(prune(Arc::clone(&repository), server.change_retention));

        let (health, health_service) = tonic_health::server::health_reporter();
        for name in ALL_SERVING {
            health.set_service_status(name, ServingStatus::NotServing).await;
        }
        let front = Front::new(catalog.clone(), front_options(&server))
            .with("/grpc.health.v1.Health/", health_service)
            .with("/grpc.reflection.v1.ServerReflection/", reflection().build_v1().map_err(reflection_error)?)
            .with(
                "/grpc.reflection.v1alpha.ServerReflection/",
                reflection().build_v1alpha().map_err(reflection_error)?,
            );

        let listener = Listener::bind(server.listen)
            .await
            .map_err(|source| ServeError::Listen { address: server.listen, source })?;
        let address = listener.address();
        let (draining, drained) = watch::channel(false);
        let connections = Connections::new(limits(&server), drained);
        let served = connections.clone();
        let workers = Workers::start(server.workers, move |stream| served.clone().serve(stream, front.clone()))?;
        let workers = Arc::new(workers);
        tasks.spawn(accept(listener, connections.clone(), Arc::clone(&workers)));

        for name in ALL_SERVING {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        tasks.spawn(watch_readiness(catalog.clone(), health.clone()));
        tracing::info!(catalog = %address, "listening");
        if let Some(path) = server.addresses_file {
            write_addresses(&path, address).map_err(|source| ServeError::AddressesFile { path, source })?;
        }
        let drain = server.deadlines.drain;
        Ok(Self { address, catalog, health, connections, draining, workers, tasks, drain })
    }

    /// Where the catalogue, health and reflection listen.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        if timeout(self.drain.saturating_sub(CLOSE), self.connections.closed()).await.is_err() {
            tracing::warn!("connections cut at the end of the time to drain");
        }
        self.tasks.shutdown().await;
        if let Ok(workers) = Arc::try_unwrap(self.workers) {
            let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
        }
        let _ = timeout(CLOSE, self.catalog.repository().close()).await;
    }
}

/// Makes the cache, lets it follow the change log, and waits for its first look, for a while: a database that is away now
/// may come later.
async fn start_catalog(
    repository: &Arc<Repository>,
    config: CacheConfig,
    watch: WatchConfig,
    clock: Clock,
    tasks: &mut JoinSet<()>,
) -> Result<Catalog, ServeError> {
    #[expect(clippy::disallowed_methods, reason = "the seed from which all chance in the cache comes")]
    let seed = rand::random();
    let cache = Cache::sharing(config, clock, Handle::current(), seed).map_err(ServeError::Redis)?;
    tasks.spawn(cache.clone().share());
    let catalog = Catalog::new(cache.clone(), Arc::clone(repository), Handle::current()).with_watch(watch);
    tasks.spawn(cache.clone().follow(Arc::new(catalog.log())));
    if let Err(error) = cache.first_pass().await {
        tracing::warn!(%error, "starting without having read the change log");
    }
    Ok(catalog)
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
        request_default: server.deadlines.request_default,
        request_max: server.deadlines.request_max,
    }
}

fn limits(server: &ServerConfig) -> Limits {
    Limits {
        connections: server.limits.connections,
        streams: server.limits.concurrent_streams,
        header_list: server.limits.header_bytes,
        preface: Duration::from_secs(10),
        keepalive_interval: server.connections.keepalive_interval,
        keepalive_timeout: server.connections.keepalive_timeout,
        max_age: server.connections.max_age,
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        // Both versions are registered below, so that each lists the other.
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(larder_proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        // With these a client such as grpcurl can show the details of errors.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn reflection_error(error: tonic_reflection::server::Error) -> ServeError {
    ServeError::Reflection(error.to_string())
}

/// Writes the addresses whole or not at all: whoever waits for the file never reads half of it.
fn write_addresses(path: &PathBuf, catalog: SocketAddr) -> io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, format!("{}\n", serde_json::json!({ "catalog": catalog.to_string() })))?;
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
