//! Products that are read into the cache before somebody asks for them.

use larder_proto::{
    admin::{WarmCacheRequest, WarmCacheResponse, WarmCategories, WarmIds, warm_cache_request::What},
    catalog::Product,
};
use larder_test_servers::{Redis, RedisOptions};

use super::{Admin, admin, in_memory, replica};
use crate::harness::{Database, Server, eventually, named, on_both_databases};

on_both_databases!(products_are_warmed_by_id_and_by_category);

const PRODUCTS: usize = 250;

async fn products_are_warmed_by_id_and_by_category(database: &Database) {
    let server = Server::start(database).await;
    let of = |number: usize| Product {
        categories: vec![if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned()],
        ..named(&format!("p{number}"), "One of many")
    };
    server.import((0..PRODUCTS).map(of)).await;
    server.settle().await;
    let mut admin = admin(&server).await;
    let ids = ["p0", "p2", "none", "p2"].map(str::to_owned).to_vec();
    let told = warm(&mut admin, What::Ids(WarmIds { ids })).await;
    assert_eq!(told.first(), Some(&WarmCacheResponse { total: 3, ..Default::default() }));
    let expected = WarmCacheResponse { total: 3, done: 3, from_database: 2, not_found: 1, ..Default::default() };
    assert_eq!(told.last(), Some(&expected));
    assert!(in_memory(&server, "p0").await && !in_memory(&server, "p4").await);

    let categories = vec!["even".to_owned(), "no-such".to_owned()];
    let last = *warm(&mut admin, What::Categories(WarmCategories { categories })).await.last().expect("progress");
    let evens = PRODUCTS as u64 / 2;
    assert_eq!((last.done, last.from_l1, last.from_database, last.failed), (evens, 2, evens - 2, 0));
    assert!(in_memory(&server, "p248").await && !in_memory(&server, "p249").await);
    server.stop().await;
}

/// What the readers of one replica read most, the next one has before it is asked.
#[tokio::test]
async fn a_new_replica_begins_with_what_is_read_most() {
    let database = Database::postgres().await;
    let redis = Redis::start(RedisOptions::default()).await;
    let first = replica(&database, Some(&redis.url())).await;
    first.import((0..PRODUCTS).map(|number| named(&format!("p{number}"), "One of many"))).await;
    let remembered = async || {
        for _ in 0..200 {
            first.get("p7").await;
        }
        first.running().catalog().cache().remembered_hot_keys(10).await.first().is_some_and(|key| key == "product:p7")
    };
    eventually("hot keys in Redis", remembered).await;
    let second = replica(&database, Some(&redis.url())).await;
    assert!(in_memory(&second, "p7").await, "nobody has read it there");
    let mut admin = admin(&second).await;
    let last = *warm(&mut admin, What::Hottest(10)).await.last().expect("progress");
    assert!(last.done >= 1 && last.from_l1 >= 1, "{last:?}");
    first.stop().await;
    second.stop().await;
}

/// Everything that is read now and then is a hit on a new replica from its first read on, not only what is read most.
#[tokio::test]
async fn a_new_replica_hits_whatever_the_others_have_read_lately() {
    let database = Database::postgres().await;
    let redis = Redis::start(RedisOptions::default()).await;
    let old = [replica(&database, Some(&redis.url())).await, replica(&database, Some(&redis.url())).await];
    old[0].import((0..PRODUCTS).map(|number| named(&format!("p{number}"), "One of many"))).await;
    let read: Vec<String> = (0..PRODUCTS / 2).map(|number| format!("p{number}")).collect();
    for (number, id) in read.iter().enumerate() {
        old[number % 2].get(id).await;
    }
    let remembered = async || {
        let names = old[0].running().catalog().cache().remembered_hot_keys(PRODUCTS).await;
        read.iter().all(|id| names.contains(&format!("product:{id}")))
    };
    eventually("what was read in Redis", remembered).await;
    let new = replica(&database, Some(&redis.url())).await;
    let stats = || new.running().catalog().cache().stats();
    let before = stats();
    for id in &read {
        new.get(id).await;
    }
    let after = stats();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (read.len() as u64, 0));
    assert!(!in_memory(&new, &format!("p{}", PRODUCTS - 1)).await, "nobody has read it");
    for server in old.into_iter().chain([new]) {
        server.stop().await;
    }
}

async fn warm(admin: &mut Admin, what: What) -> Vec<WarmCacheResponse> {
    let request = WarmCacheRequest { what: Some(what), concurrency: 0 };
    let mut stream = admin.warm_cache(request).await.expect("a stream").into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.expect("no error") {
        told.push(message);
    }
    told
}
