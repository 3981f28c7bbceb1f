//! `CacheAdmin`, on one replica and on three.

mod invalidation;
mod refusals;
mod seeing;
mod warming;

use std::time::Duration;

use larder_proto::{
    admin::{
        InvalidateAllRequest, InvalidateCategoriesRequest, InvalidateKeysRequest, InvalidatePatternRequest,
        InvalidateTagsRequest, Invalidation, cache_admin_client::CacheAdminClient,
    },
    catalog::{CacheTier, GetProductRequest, ListProductsRequest, Product, ProductFilter, ReadOptions},
};
use larder_test_servers::{Redis, RedisOptions};
use tonic::transport::Channel;

use crate::harness::{Database, Server, connect, eventually};

/// A client of `CacheAdmin`.
type Admin = CacheAdminClient<Channel>;

pub(crate) async fn admin(server: &Server) -> Admin {
    let address = server.running().admin_address().expect("a server with CacheAdmin");
    Admin::new(connect(address).await)
}

/// Three replicas over one database and, if there is one, one Redis.
struct Cluster {
    replicas: Vec<Server>,
    admins: Vec<Admin>,
    redis: Option<Redis>,
}

impl Cluster {
    /// With a Redis of its own.
    async fn sharing(database: &Database) -> Self {
        let redis = Redis::start(RedisOptions::default()).await;
        let url = redis.url();
        let cluster = Self::start(database, Some(&url)).await;
        for server in &cluster.replicas {
            let cache = server.running().catalog().cache();
            eventually("replicas that know each other", async || {
                cache.bus_connected() == Some(true)
                    && cache.shared_tier_up() == Some(true)
                    && cache.replicas().len() == 2
            })
            .await;
        }
        Self { redis: Some(redis), ..cluster }
    }

    /// Without Redis.
    async fn apart(database: &Database) -> Self {
        Self::start(database, None).await
    }

    async fn start(database: &Database, redis: Option<&str>) -> Self {
        let (mut replicas, mut admins) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let server = replica(database, redis).await;
            admins.push(admin(&server).await);
            replicas.push(server);
        }
        Self { replicas, admins, redis: None }
    }

    async fn stop(self) {
        for server in self.replicas {
            server.stop().await;
        }
    }
}

/// How long answers of replicas that are there may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A replica, sharing what Redis has under an address or nothing.
async fn replica(database: &Database, redis: Option<&str>) -> Server {
    Server::start_with(database, |config| {
        config.cache.shared = redis
            // A busy machine is not a Redis that is away.
            .map(|url| larder_cache::SharedConfig {
                url: url.to_owned(),
                command_timeout: PATIENCE,
                ..larder_cache::SharedConfig::default()
            });
    })
    .await
}

/// A kind of invalidation.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Keys,
    Categories,
    Tags,
    Pattern,
    All,
}

impl Kind {
    const EVERY: [Self; 5] = [Self::Keys, Self::Categories, Self::Tags, Self::Pattern, Self::All];

    /// Asks for one that touches the product `touched` of the fixtures, and says what became of it.
    async fn invalidate(self, admin: &mut Admin, dry_run: bool) -> Invalidation {
        self.invalidate_within(PATIENCE, admin, dry_run).await
    }

    /// The same, with a limit to the wait for those who do not answer.
    async fn invalidate_within(self, limit: Duration, admin: &mut Admin, dry_run: bool) -> Invalidation {
        let wait = prost_types::Duration::try_from(limit).ok();
        let invalidation = match self {
            Self::Keys => {
                let keys = vec!["touched".to_owned()];
                let asked = admin.invalidate_keys(InvalidateKeysRequest { keys, dry_run, wait }).await;
                asked.map(|reply| reply.into_inner().invalidation)
            }
            Self::Categories => {
                let categories = vec!["pans".to_owned()];
                let request = InvalidateCategoriesRequest { categories, dry_run, wait };
                admin.invalidate_categories(request).await.map(|reply| reply.into_inner().invalidation)
            }
            Self::Tags => {
                let tags = vec!["copper".to_owned()];
                let asked = admin.invalidate_tags(InvalidateTagsRequest { tags, dry_run, wait }).await;
                asked.map(|reply| reply.into_inner().invalidation)
            }
            Self::Pattern => {
                let pattern = "product:t?uc{hed,x}".to_owned();
                let request = InvalidatePatternRequest { pattern, dry_run, wait };
                admin.invalidate_pattern(request).await.map(|reply| reply.into_inner().invalidation)
            }
            Self::All => {
                let asked = admin.invalidate_all(InvalidateAllRequest { dry_run, wait }).await;
                asked.map(|reply| reply.into_inner().invalidation)
            }
        };
        invalidation.expect("an invalidation").expect("what became of it")
    }

    /// Whether it leaves the copy of the product `other`, which has another category and another tag.
    fn leaves_other(self) -> bool {
        !matches!(self, Self::All)
    }
}

/// Two products with a category and a tag each. What is a category of one is a tag of the other.
async fn stock(server: &Server) {
    let of = |id: &str, category: &str, tag: &str| Product {
        categories: vec![category.to_owned()],
        tags: vec![tag.to_owned()],
        ..crate::harness::product(id)
    };
    server.import([of("touched", "pans", "copper"), of("other", "copper", "pans")]).await;
    server.settle().await;
}

/// Reads a product until memory answers, so that it has a copy.
async fn warm(server: &Server, id: &str) {
    eventually("a copy in memory", async || tier(server, id).await == CacheTier::L1).await;
}

async fn tier(server: &Server, id: &str) -> CacheTier {
    server.get(id).await.cache.expect("where it came from").tier()
}

/// Whether memory alone can answer.
async fn in_memory(server: &Server, id: &str) -> bool {
    let read = Some(ReadOptions { cache_only: true, ..ReadOptions::default() });
    server.client().get_product(GetProductRequest { id: id.to_owned(), read }).await.is_ok()
}

async fn list(server: &Server, tag: &str) -> CacheTier {
    let filter = Some(ProductFilter { tag: tag.to_owned(), ..ProductFilter::default() });
    let request = ListProductsRequest { filter, ..ListProductsRequest::default() };
    let reply = server.client().list_products(request).await.expect("a list").into_inner();
    reply.cache.expect("where it came from").tier()
}
