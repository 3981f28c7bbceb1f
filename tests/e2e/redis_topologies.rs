//! Redis Cluster, and Redis watched by Sentinels, as a server is told of them.

use larder_proto::catalog::{
    CacheTier, CreateProductRequest, GetProductRequest, ReadOptions, read_options::Consistency,
};
use larder_test_servers::{RedisCluster, RedisSentinel};
use serde_json::Value;

use crate::harness::{Database, Process, eventually, product};

const PRODUCTS: usize = 20;

/// What one replica wrote another finds in Redis, on whichever node it lies.
async fn replicas_share(url: &str) {
    let database = Database::postgres().await;
    let flags = ["--redis-url", url];
    let (one, two) = (Process::start_with(&database, &flags).await, Process::start_with(&database, &flags).await);
    for number in 0..PRODUCTS {
        let mut attempts = 0;
        // A replica does not wait for a Redis that is slow: it then asks the database, and the next product shows it.
        eventually("a product of the other replica comes from Redis", async || {
            attempts += 1;
            let id = format!("p{number}-{attempts}");
            let request = CreateProductRequest { product: Some(product(&id)), ..Default::default() };
            let created = one.client().create_product(request).await.expect("the product").into_inner();
            let consistency = Some(Consistency::AtLeastAsFresh(created.token));
            let request = GetProductRequest { id, read: Some(ReadOptions { consistency, ..ReadOptions::default() }) };
            let reply = two.client().get_product(request).await.expect("the product").into_inner();
            reply.cache.expect("cache facts").tier() == CacheTier::L2
        })
        .await;
    }
    let stats = two.larder(&["stats", "--json"]).await;
    let stats: Value = serde_json::from_str(&stats.out).expect("JSON");
    let redis = &stats["replicas"][0]["redis"];
    let keys: usize = redis["keys"].as_str().and_then(|keys| keys.parse().ok()).expect("the number of keys");
    assert!(keys >= PRODUCTS, "{redis}");
    let health = two.larder(&["health", "--deep"]).await;
    assert_eq!(health.code, Some(0), "{}{}", health.out, health.err);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn replicas_share_a_cluster() {
    replicas_share(&RedisCluster::start(3).await.url()).await;
}

#[tokio::test]
async fn replicas_share_the_master_that_sentinels_name() {
    replicas_share(&RedisSentinel::start().await.url()).await;
}
