//! `larder.admin.v1.CacheAdmin`.

mod entry;
mod health;
mod invalidate;
mod replicas;
mod stats;
mod warm;

use std::{pin::Pin, time::Duration};

use larder_cache::{Cache, Moment};
use larder_proto::admin::{
    self, ChangeLogHealth, GetHealthRequest, GetHealthResponse, GetStatsRequest, GetStatsResponse, HotKey,
    InspectEntryRequest, InspectEntryResponse, InvalidateAllRequest, InvalidateAllResponse,
    InvalidateCategoriesRequest, InvalidateCategoriesResponse, InvalidateKeysRequest, InvalidateKeysResponse,
    InvalidatePatternRequest, InvalidatePatternResponse, InvalidateTagsRequest, InvalidateTagsResponse,
    ListHotKeysRequest, ListHotKeysResponse, PurgeExpiredRequest, PurgeExpiredResponse, Replica, WarmCacheRequest,
    WarmCacheResponse, WatchStatsRequest, WatchStatsResponse, cache_admin_server::CacheAdmin,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::{Stream, StreamExt as _, wrappers::IntervalStream};
use tonic::{Request, Response, Status};

use self::invalidate::{Asked, invalidate};
pub(crate) use self::stats::redis_stats;
use super::errors;
use crate::{
    catalog::{Catalog, Copy},
    contract::{Violations, duration, parse_duration, parse_key},
};

/// The identity of a replica.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Chosen at random at its start.
    pub id: u64,
    /// Its host and port.
    pub name: String,
    /// When it started.
    pub started: Moment,
}

/// The service.
#[derive(Clone)]
pub struct AdminService {
    catalog: Catalog,
    identity: Identity,
}

/// How long to wait for other replicas, unless the request says.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often to send statistics, unless the request says.
const INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);
/// Hot keys to list, unless the request says, and at most.
const HOT_KEYS: usize = 20;
const MOST_HOT_KEYS: usize = 1_000;

impl Identity {
    fn message(&self, now: Moment) -> Replica {
        Replica {
            id: format!("{:016x}", self.id),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: Some(duration(now.since(self.started))),
        }
    }
}

/// Another replica, as it introduced itself.
fn other(replica: &larder_cache::Replica) -> Replica {
    Replica {
        id: format!("{:016x}", replica.id),
        name: replica.name.clone(),
        version: replica.version.clone(),
        uptime: Some(duration(replica.age)),
    }
}

/// How long to wait for other replicas.
fn wait(field: &str, asked: Option<prost_types::Duration>) -> Result<Duration, Violations> {
    parse_duration(field, asked, Duration::ZERO..=LONGEST_WAIT).map(|asked| asked.unwrap_or(WAIT))
}

impl AdminService {
    /// The service of a replica. It also answers questions of other replicas.
    pub fn new(catalog: Catalog, identity: Identity) -> Self {
        replicas::answer(&catalog, &identity);
        Self { catalog, identity }
    }

    /// The cache that the service is about.
    pub(crate) fn cache(&self) -> &Cache<Copy> {
        self.catalog.cache()
    }

    /// How long since the replica started.
    pub(crate) fn uptime(&self) -> Duration {
        self.cache().clock().now().since(self.identity.started)
    }

    /// How far the replica has read the change log, without its number of rows.
    pub(crate) fn change_log(&self) -> ChangeLogHealth {
        health::change_log(self.cache(), None)
    }

    /// Drops the copies that a request names, and logs an audit record; the span has the id of the request.
    async fn invalidation<T>(
        &self,
        request: Request<T>,
        what: &'static str,
        parse: impl FnOnce(&T) -> Result<Asked, Violations>,
    ) -> Result<Option<admin::Invalidation>, Status>
    where
        T: std::fmt::Debug,
    {
        let message = request.into_inner();
        let asked_for = format!("{message:?}");
        let parsed = parse(&message).map_err(|violations| errors::invalid(&violations))?;
        let done = invalidate(&self.catalog, parsed).await;
        let asked_for = asked_for.get(..asked_for.floor_char_boundary(1_024)).unwrap_or_default();
        tracing::info!(what, asked_for, done = done.is_ok(), "invalidation asked for");
        done.map(Some)
    }
}

type Warming = Pin<Box<dyn Stream<Item = Result<WarmCacheResponse, Status>> + Send>>;
type Told = Pin<Box<dyn Stream<Item = Result<WatchStatsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CacheAdmin for AdminService {
    async fn get_stats(&self, request: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        let GetStatsRequest { all_replicas, wait: asked } = request.into_inner();
        let wait = wait("wait", asked).map_err(|violations| errors::invalid(&violations))?;
        let (replicas, silent) = replicas::stats(&self.catalog, &self.identity, all_replicas.then_some(wait)).await;
        Ok(Response::new(GetStatsResponse { replicas, silent }))
    }

    type WatchStatsStream = Told;

    async fn watch_stats(&self, request: Request<WatchStatsRequest>) -> Result<Response<Told>, Status> {
        let WatchStatsRequest { interval: asked, all_replicas } = request.into_inner();
        let every = parse_duration("interval", asked, SHORTEST_INTERVAL..=LONGEST_INTERVAL)
            .map_err(|violations| errors::invalid(&violations))?
            .unwrap_or(INTERVAL);
        let mut ticks = interval(every);
        // A slow client gets no burst of old figures.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (catalog, identity) = (self.catalog.clone(), self.identity.clone());
        let wait = all_replicas.then_some(every.min(LONGEST_WAIT));
        let told = IntervalStream::new(ticks).then(move |_| {
            let (catalog, identity) = (catalog.clone(), identity.clone());
            async move {
                let (replicas, silent) = replicas::stats(&catalog, &identity, wait).await;
                Ok(WatchStatsResponse { replicas, silent })
            }
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<GetHealthResponse>, Status> {
        Ok(Response::new(health::of_replica(&self.identity, &self.catalog).await))
    }

    async fn inspect_entry(
        &self,
        request: Request<InspectEntryRequest>,
    ) -> Result<Response<InspectEntryResponse>, Status> {
        let key = parse_key("key", &request.into_inner().key).map_err(|violations| errors::invalid(&violations))?;
        Ok(Response::new(entry::inspect(&self.catalog, &key).await?))
    }

    async fn list_hot_keys(
        &self,
        request: Request<ListHotKeysRequest>,
    ) -> Result<Response<ListHotKeysResponse>, Status> {
        let most = match usize::try_from(request.into_inner().page_size) {
            Ok(0) => HOT_KEYS,
            Ok(asked) => asked.min(MOST_HOT_KEYS),
            Err(_) => return Err(errors::invalid(&Violations::one("page_size", "must be zero or more"))),
        };
        let keys = self.catalog.cache().hot_keys(most);
        let keys = keys.into_iter().map(|hot| HotKey { key: hot.name, rate: hot.rate, reads: hot.reads }).collect();
        Ok(Response::new(ListHotKeysResponse { keys }))
    }

    async fn invalidate_keys(
        &self,
        request: Request<InvalidateKeysRequest>,
    ) -> Result<Response<InvalidateKeysResponse>, Status> {
        let invalidation = self.invalidation(request, "keys", invalidate::keys).await?;
        Ok(Response::new(InvalidateKeysResponse { invalidation }))
    }

    async fn invalidate_categories(
        &self,
        request: Request<InvalidateCategoriesRequest>,
    ) -> Result<Response<InvalidateCategoriesResponse>, Status> {
        let invalidation = self.invalidation(request, "categories", invalidate::categories).await?;
        Ok(Response::new(InvalidateCategoriesResponse { invalidation }))
    }

    async fn invalidate_tags(
        &self,
        request: Request<InvalidateTagsRequest>,
    ) -> Result<Response<InvalidateTagsResponse>, Status> {
        let invalidation = self.invalidation(request, "tags", invalidate::tags).await?;
        Ok(Response::new(InvalidateTagsResponse { invalidation }))
    }

    async fn invalidate_pattern(
        &self,
        request: Request<InvalidatePatternRequest>,
    ) -> Result<Response<InvalidatePatternResponse>, Status> {
        let invalidation = self.invalidation(request, "pattern", invalidate::pattern).await?;
        Ok(Response::new(InvalidatePatternResponse { invalidation }))
    }

    async fn invalidate_all(
        &self,
        request: Request<InvalidateAllRequest>,
    ) -> Result<Response<InvalidateAllResponse>, Status> {
        let invalidation = self.invalidation(request, "all", invalidate::all).await?;
        Ok(Response::new(InvalidateAllResponse { invalidation }))
    }

    async fn purge_expired(&self, _: Request<PurgeExpiredRequest>) -> Result<Response<PurgeExpiredResponse>, Status> {
        let cache = self.catalog.cache().clone();
        // This inspects every entry.
        let purged = tokio::task::spawn_blocking(move || cache.purge_expired()).await;
        Ok(Response::new(PurgeExpiredResponse { purged: purged.map_err(errors::internal)? }))
    }

    type WarmCacheStream = Warming;

    async fn warm_cache(&self, request: Request<WarmCacheRequest>) -> Result<Response<Warming>, Status> {
        let (what, at_once) = warm::parse(request.into_inner()).map_err(|violations| errors::invalid(&violations))?;
        let progress = self.catalog.warm(what, at_once).await;
        Ok(Response::new(Box::pin(progress.map(|warmed| Ok(warm::to_message(warmed))))))
    }
}
