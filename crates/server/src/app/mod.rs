//! The server as a whole: it is built here, each part after the parts that it needs, and ended in the opposite order.

mod health;
mod security;
mod services;
mod serving;
mod signals;
mod warm_up;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use larder_cache::{Cache, Clock, Policies};
use larder_storage::{ProductRepository as _, Repository, StorageConfig};
use tokio::{
    runtime::{self, Handle},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) use self::security::Security;
#[cfg(test)]
pub(crate) use self::services::every_method;
use self::{
    health::Health,
    services::Entrance,
    serving::{HttpServing, Port, Serving, admin_connections, catalog_connections},
    signals::{Stop, outlive_full_files},
    warm_up::warm_up,
};
use crate::{
    auth::{METRICS, PAGE},
    catalog::{Catalog, Copy},
    config::{AuthConfig, Config, SampleCatalogue, WatchConfig},
    error::ServeError,
    events::{Events, IngestContext, WallClock},
    grpc::{AdminService, Admission, Identity, Observers},
    http::{guarded, page, probes},
    metrics::{ChangelogRows, Metrics, MetricsExport},
    net::{Protocol, raise_limit},
    sample,
    telemetry::{SlowCalls, Tracer, Tracing},
};

/// The part of the time to drain that is kept for closing the database.
const CLOSE: Duration = Duration::from_secs(2);

/// What a running server applies of a changed configuration.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// How copies are kept.
    pub policies: Policies,
    /// Who may do what.
    pub auth: AuthConfig,
}

/// Serves until a signal says to stop. Returns when everything has ended. On SIGHUP `reload` reads the configuration again and
/// logs the outcome; what it returns is in effect from then on.
pub fn serve(config: Config, reload: impl Fn() -> Option<Reloaded>) -> Result<(), ServeError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers.clamp(1, 4))
        .thread_name("larder-base")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut stop = Stop::new()?;
        outlive_full_files()?;
        raise_limit();
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
                    running.reload(reload());
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

/// A running server.
pub struct Running {
    catalog: Catalog,
    security: Security,
    health: Health,
    serving: Serving,
    /// The listener of `CacheAdmin`, which stays reachable under any load of the other one.
    admin: Option<Serving>,
    http: Option<HttpServing>,
    events: Events,
    /// `None` where no span leaves the server.
    tracing: Option<Tracing>,
    /// `None` where no metrics leave the server but to those who ask.
    exported: Option<MetricsExport>,
    draining: watch::Sender<bool>,
    tasks: JoinSet<()>,
    drain: Duration,
}

impl Running {
    /// Opens the database, reads the change log once, binds the ports and logs the addresses. Must be called on a runtime that
    /// outlives the server; the database is used on it.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServeError> {
        // The state of starting is too large for the caller's stack.
        Box::pin(Self::build(config, clock)).await
    }

    async fn build(config: Config, clock: Clock) -> Result<Self, ServeError> {
        let (draining, drained) = watch::channel(false);
        let security = Security::open(config.security.clone())?;
        let public = catalog_connections(&config, &security, &drained);
        let private = admin_connections(&config, &security, &drained);
        let Config { server, storage, cache, events, telemetry, .. } = config;
        let repository = open(&storage, server.sample_catalogue.clone()).await?;

        let mut tasks = JoinSet::new();
        let started = clock.now();
        #[expect(
            clippy::disallowed_methods,
            reason = "the seed of all randomness in the cache, and the name of this replica"
        )]
        let instance = rand::random();
        let shared = cache.shared.clone();
        let tracing = Tracing::start(&telemetry, instance, &Handle::current())?;
        let observers = observers(tracing.as_ref(), telemetry.slow_call);
        let cache = Cache::sharing(cache, clock, Handle::current(), instance).map_err(ServeError::Redis)?;
        if let Some(tracer) = observers.tracer.clone() {
            cache.on_traced_changes(move |changes| tracer.applied(&changes));
        }
        let catalog = start_catalog(&repository, cache, server.watch.clone(), &mut tasks).await;
        warm_up(&catalog, server.warm_on_start, server.warm_timeout).await;
        tasks.spawn(catalog.clone().prefetch());

        let (health, health_service) = Health::new(&server.compat).await;
        security.follow(instance, &mut tasks);
        let admission = Arc::new(Admission::new(server.admission));
        let entrance = Entrance { gate: security.gate(), admission: &admission };
        let figures = Metrics::new(catalog.clone(), &observers, &security, Arc::clone(&admission), health.ready());
        let metrics = Arc::new(figures);
        let exported = MetricsExport::start(&telemetry, instance, Arc::clone(&metrics))?;
        tasks.spawn(prune(repository, server.change_retention, Arc::clone(&metrics.changelog_rows)));
        let calls = Arc::clone(&metrics.calls);
        let router = services::catalog(&server, &catalog, health_service.clone(), &observers, &entrance)?;
        let port = Port { listen: server.listen, threads: server.workers, router };
        let serving = Serving::start(port, public, &mut tasks).await?;
        let identity = Identity { id: instance, name: name_of(serving.address), started };
        catalog.cache().introduce(&identity.name, env!("CARGO_PKG_VERSION"));
        let ingest = ingest(&catalog, &identity, &metrics, observers.tracer.as_ref(), &drained);
        let service = AdminService::new(catalog.clone(), identity);
        let admin = match server.admin_listen {
            None => None,
            Some(listen) => {
                let router = services::admin(&server, service.clone(), health_service, &observers, security.gate())?;
                let port = Port { listen, threads: 1, router };
                Some(Serving::start(port, private, &mut tasks).await?)
            }
        };
        let events = Events::open(events, shared.as_ref(), ingest, &mut tasks)?;
        let http = match server.http_listen {
            None => None,
            Some(listen) => {
                // Whoever switches CacheAdmin off wants no other way to it.
                let page = admin.as_ref().map(|_| page(service, calls, drained.clone(), &mut tasks));
                // Senders of webhooks sign; whoever probes a replica has no credential.
                let paths = probes(health.ready()).merge(events.routes.clone());
                let paths = paths.merge(guarded(metrics.routes(), security.gate(), METRICS)).merge(guarded(
                    page.unwrap_or_default(),
                    security.gate(),
                    PAGE,
                ));
                let acceptor = security.acceptor(Protocol::Http);
                Some(HttpServing::start(listen, acceptor, paths, drained, &mut tasks).await?)
            }
        };

        health.serving(admin.as_ref().map(|admin| admin.address)).await;
        tasks.spawn(health.clone().follow(catalog.clone()));
        let drain = server.deadlines.drain;
        let running =
            Self { catalog, security, health, serving, admin, http, events, tracing, exported, draining, tasks, drain };
        running.announce(server.addresses_file)?;
        Ok(running)
    }

    /// Logs the addresses, and writes them into the file if there is one.
    fn announce(&self, file: Option<PathBuf>) -> Result<(), ServeError> {
        tracing::info!(
            catalog = %self.address(),
            admin = self.admin_address().map(tracing::field::display),
            http = self.http_address().map(tracing::field::display),
            "listening"
        );
        let Some(path) = file else { return Ok(()) };
        let mut addresses = serde_json::json!({ "catalog": self.address().to_string() });
        if let Some(admin) = self.admin_address() {
            addresses["admin"] = admin.to_string().into();
        }
        if let Some(http) = self.http_address() {
            addresses["http"] = http.to_string().into();
        }
        write_whole(&path, &format!("{addresses}\n")).map_err(|source| ServeError::AddressesFile { path, source })
    }

    /// Applies a changed configuration, if there is one without errors. Reads the files of TLS again, and opens the
    /// file of audit records again, in any case.
    pub fn reload(&self, reloaded: Option<Reloaded>) {
        if let Some(Reloaded { policies, auth }) = reloaded {
            self.catalog.cache().set_policies(policies);
            self.security.set_auth(auth);
        }
        self.security.reload_files();
    }

    /// Where the catalogue, health and reflection listen.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// Where `CacheAdmin` listens, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Where HTTP is served, if it is.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Traces, if they are on.
    pub fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracing.as_ref().map(Tracing::tracer)
    }

    /// The catalogue.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Tells clients to go elsewhere, lets requests in progress end, and ends everything within the time to drain.
    pub async fn stop(mut self) {
        self.health.draining().await;
        let _ = self.draining.send(true);
        self.catalog.end_watching();
        self.health.end().await;
        let closed = async {
            self.serving.closed().await;
            if let Some(admin) = &self.admin {
                admin.closed().await;
            }
            if let Some(http) = &mut self.http {
                http.closed().await;
            }
            self.events.ended().await;
        };
        if timeout(self.drain.saturating_sub(CLOSE), closed).await.is_err() {
            tracing::warn!("connections cut at the end of the time to drain");
        }
        let cache = self.catalog.cache();
        // A copy that Redis does not get costs a load, and no more.
        let _ = timeout(CLOSE / 4, cache.flush()).await;
        let _ = timeout(CLOSE / 4, cache.leave()).await;
        self.tasks.shutdown().await;
        for serving in [Some(self.serving), self.admin].into_iter().flatten() {
            serving.stop().await;
        }
        let spans = async {
            if let Some(tracing) = self.tracing {
                tracing.stop(CLOSE).await;
            }
        };
        let metrics = async {
            if let Some(exported) = self.exported {
                exported.stop(CLOSE).await;
            }
        };
        let records = timeout(CLOSE, self.security.flush());
        let _ = tokio::join!(timeout(CLOSE, self.catalog.repository().close()), spans, metrics, records);
    }
}

/// Opens the database, and loads the sample into an empty one.
async fn open(config: &StorageConfig, sample: SampleCatalogue) -> Result<Arc<Repository>, ServeError> {
    let repository = Repository::connect(config).await.map_err(ServeError::Database)?;
    let backend = repository.backend();
    tracing::info!(database = backend.name, version = backend.version, "database open");
    sample::load(&repository, sample).await?;
    Ok(Arc::new(repository))
}

/// The parts of the server that events need.
fn ingest(
    catalog: &Catalog,
    identity: &Identity,
    metrics: &Metrics,
    tracer: Option<&Arc<Tracer>>,
    draining: &watch::Receiver<bool>,
) -> IngestContext {
    IngestContext {
        catalog: catalog.clone(),
        name: identity.name.clone(),
        seed: identity.id,
        clock: WallClock::system(),
        counts: Arc::clone(&metrics.events),
        tracer: tracer.cloned(),
        draining: draining.clone(),
    }
}

/// Who is told of calls.
fn observers(tracing: Option<&Tracing>, slow_call: Option<Duration>) -> Observers {
    Observers {
        calls: Arc::default(),
        tracer: tracing.map(|tracing| Arc::clone(tracing.tracer())),
        slow: slow_call.map(SlowCalls::over),
    }
}

/// The name of the replica that listens on an address, for other replicas.
fn name_of(address: SocketAddr) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", address.port())
}

/// Starts the cache's sharing and its follower of the change log, and waits a while for the first pass. The server starts without
/// it, because a database that is away now may return later.
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

/// Removes changes from the log that are older than its retention, and counts the others.
async fn prune(repository: Arc<Repository>, retention: Duration, counted: Arc<ChangelogRows>) {
    let interval = (retention / 12).clamp(Duration::from_secs(1), Duration::from_mins(5));
    loop {
        match repository.log_rows().await {
            Ok(rows) => counted.set(rows),
            Err(error) => tracing::warn!(%error, "rows of the change log not counted"),
        }
        sleep(interval).await;
        match repository.prune(retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "change log pruned"),
            Err(error) => tracing::warn!(%error, "change log not pruned"),
        }
    }
}

/// Writes a file whole or not at all: a reader never sees half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}
