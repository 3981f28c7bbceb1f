//! The health of the server: whether it is alive, and whether it is ready.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::services::{ADMIN, CATALOG, compat};
use crate::{catalog::Catalog, config::Contract};

const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";
/// The names of health checks; the last ones are the services' own, before those of other shops' contracts.
const NAMES: [&str; 5] = ["", LIVENESS, READINESS, CATALOG, ADMIN];
/// How often the server checks whether it is ready.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);

/// Reports the health of the server to those who ask or watch.
#[derive(Clone)]
pub(super) struct Health {
    reporter: HealthReporter,
    names: Arc<[&'static str]>,
    /// Whether the server is ready, for those who ask over HTTP.
    ready: Arc<watch::Sender<bool>>,
}

impl Health {
    /// A server that is not ready, and the service that says so.
    pub(super) async fn new(contracts: &[Contract]) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let names = NAMES.into_iter().chain(contracts.iter().map(|&contract| compat(contract))).collect();
        let health = Self { reporter, names, ready: Arc::default() };
        health.set(|_| true, ServingStatus::NotServing).await;
        (health, service)
    }

    /// Whether the server is ready, now and later.
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Reports that the server serves, and `CacheAdmin` if that has an address.
    pub(super) async fn serving(&self, admin: Option<SocketAddr>) {
        self.ready.send_replace(true);
        self.set(|name| name != ADMIN || admin.is_some(), ServingStatus::Serving).await;
    }

    /// Reports that the server is alive but not ready.
    pub(super) async fn draining(&self) {
        self.ready.send_replace(false);
        self.set(|name| name != LIVENESS, ServingStatus::NotServing).await;
    }

    /// Ends the streams of those who watch the health of the server, which would keep connections open. The end is the last news.
    pub(super) async fn end(&mut self) {
        for &name in &*self.names {
            self.reporter.clear_service_status(name).await;
        }
    }

    /// Reports the server as ready while it can answer, from the database or from copies that may still be served.
    pub(super) async fn follow(self, catalog: Catalog) {
        let limit = catalog.cache().config().max_stale.max(catalog.cache().config().staleness_bound);
        let mut ready = true;
        loop {
            sleep(READINESS_INTERVAL).await;
            let now_ready = catalog.cache().age_of_last_pass().is_some_and(|age| age <= limit);
            if now_ready != ready {
                ready = now_ready;
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                tracing::warn!(ready, "readiness changed");
                self.ready.send_replace(ready);
                self.set(|name| name != LIVENESS, status).await;
            }
        }
    }

    async fn set(&self, named: impl Fn(&str) -> bool, status: ServingStatus) {
        for &name in self.names.iter().filter(|&&name| named(name)) {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
