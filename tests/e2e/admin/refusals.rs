//! Requests that break rules, and a database that is away.

use larder_proto::admin::{
    GetStatsRequest, InspectEntryRequest, InvalidateAllRequest, InvalidateCategoriesRequest, InvalidateKeysRequest,
    InvalidatePatternRequest, InvalidateTagsRequest, ListHotKeysRequest, WarmCacheRequest, WarmIds, WatchStatsRequest,
    warm_cache_request::What,
};
use tonic::Code;

use super::admin;
use crate::harness::{Database, Refusal, Server, refusal};

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn each_broken_rule_is_named_with_its_field() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let mut admin = admin(&server).await;
    macro_rules! refused {
        ($call:ident($request:expr), $fields:expr) => {
            let status = admin.$call($request).await.expect_err("a refusal");
            assert_eq!(refusal(&status), Refusal::invalid($fields), "{status:?}");
        };
    }
    refused!(get_stats(GetStatsRequest { all_replicas: true, wait: Some(seconds(11)) }), &["wait"]);
    refused!(get_stats(GetStatsRequest { all_replicas: true, wait: Some(seconds(-1)) }), &["wait"]);
    refused!(watch_stats(WatchStatsRequest { interval: Some(seconds(0)), all_replicas: false }), &["interval"]);
    for key in ["", "other:a", "product:ä", "a b"] {
        refused!(inspect_entry(InspectEntryRequest { key: key.to_owned() }), &["key"]);
    }
    refused!(list_hot_keys(ListHotKeysRequest { page_size: -1 }), &["page_size"]);
    refused!(invalidate_keys(InvalidateKeysRequest::default()), &["keys"]);
    let many = vec!["a".to_owned(); 1_001];
    refused!(invalidate_keys(InvalidateKeysRequest { keys: many, ..Default::default() }), &["keys"]);
    let keys = vec!["a".to_owned(), "b c".to_owned(), String::new()];
    refused!(
        invalidate_keys(InvalidateKeysRequest { keys, wait: Some(seconds(99)), ..Default::default() }),
        &["keys[1]", "keys[2]", "wait"]
    );
    let categories = vec![String::new(), "x".repeat(129), "a\0".to_owned()];
    let fields = &["categories[0]", "categories[1]", "categories[2]"];
    refused!(invalidate_categories(InvalidateCategoriesRequest { categories, ..Default::default() }), fields);
    refused!(invalidate_categories(InvalidateCategoriesRequest::default()), &["categories"]);
    let tags = vec![String::new(), "x".repeat(200), "a\0".to_owned()];
    refused!(invalidate_tags(InvalidateTagsRequest { tags, ..Default::default() }), &["tags[0]", "tags[1]", "tags[2]"]);
    for pattern in ["", "[a", "{a,{b}}", "\\", &"*a".repeat(200)] {
        let request = InvalidatePatternRequest { pattern: pattern.to_owned(), ..Default::default() };
        refused!(invalidate_pattern(request), &["pattern"]);
    }
    refused!(invalidate_all(InvalidateAllRequest { dry_run: false, wait: Some(seconds(60)) }), &["wait"]);
    refused!(warm_cache(WarmCacheRequest::default()), &["what"]);
    let what = Some(What::Ids(WarmIds { ids: vec!["a b".to_owned()] }));
    refused!(warm_cache(WarmCacheRequest { what, concurrency: -1 }), &["concurrency", "ids.ids[0]"]);
    refused!(warm_cache(WarmCacheRequest { what: Some(What::Hottest(0)), concurrency: 0 }), &["hottest"]);
    server.stop().await;
}

#[tokio::test]
async fn the_catalogue_does_not_answer_on_the_port_of_the_administrator_nor_the_other_way_round() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let channel = crate::harness::connect(server.running().admin_address().expect("an address")).await;
    let mut catalog = crate::harness::Client::new(channel);
    let status = catalog.list_products(larder_proto::catalog::ListProductsRequest::default()).await;
    assert_eq!(status.expect_err("no catalogue here").code(), Code::Unimplemented);
    let mut admin = super::Admin::new(server.channel());
    let status = admin.get_stats(GetStatsRequest::default()).await;
    assert_eq!(status.expect_err("no administration there").code(), Code::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn without_a_database_nothing_is_invalidated_and_the_reply_says_so() {
    let postgres = std::sync::Arc::new(
        larder_test_servers::Postgres::start(larder_test_servers::PostgresOptions::default()).await,
    );
    let database = Database::on(std::sync::Arc::clone(&postgres)).await;
    let server = Server::start(&database).await;
    let mut admin = admin(&server).await;
    postgres.kill();
    let status = admin.invalidate_all(InvalidateAllRequest::default()).await.expect_err("no database");
    assert_eq!(refusal(&status).code, Code::Unavailable);
    let health = admin.get_health(larder_proto::admin::GetHealthRequest {}).await.expect("health").into_inner();
    let (l1, origin) = (&health.tiers[0], health.tiers.last().expect("the database"));
    assert!(!health.healthy && l1.healthy && !origin.healthy, "{health:?}");
    assert!(!origin.problem.is_empty() && health.change_log.is_some_and(|log| log.rows.is_none()));
    server.stop().await;
}
