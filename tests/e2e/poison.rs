//! What somebody does to the database by hand that a change log does not survive: triggers switched off, rows nobody can read.

use larder_proto::{
    admin::{GetHealthRequest, GetHealthResponse},
    catalog::{
        BatchGetProductsRequest, CacheTier, DeleteProductRequest, ListProductsRequest, ReadOptions,
        UpdateProductRequest, read_options,
    },
};
use larder_storage::ProductRepository as _;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    admin::admin,
    harness::{Database, Refusal, Server, eventually, named, on_both_databases, product, refusal},
};

on_both_databases!(without_its_triggers_nothing_cached_is_fresh);

/// Switches the log off in silence, and changes a product.
fn silently(database: &Database) -> String {
    let off = match database {
        Database::Postgres { .. } => "ALTER TABLE products DISABLE TRIGGER ALL",
        Database::Sqlite { .. } => "DROP TRIGGER product_after_update",
    };
    format!("BEGIN; {off}; UPDATE products SET name = 'silent' WHERE id = 'a'; COMMIT")
}

async fn health(server: &Server) -> GetHealthResponse {
    admin(server).await.get_health(GetHealthRequest {}).await.expect("health").into_inner()
}

async fn without_its_triggers_nothing_cached_is_fresh(database: &Database) {
    let server = Server::start(database).await;
    server.create(named("a", "before")).await;
    server.create(named("b", "b")).await;
    for id in ["a", "b"] {
        server.get(id).await;
    }
    assert!(health(&server).await.healthy);
    database.shell(&silently(database)).await;
    eventually("the missing trigger to be reported", async || {
        let seen = health(&server).await;
        let problem = seen.change_log.expect("a change log").problem;
        !seen.healthy && problem.contains("trigger") && problem.contains("larder database repair")
    })
    .await;
    assert_eq!(server.get("a").await.product.expect("a").name, "silent");
    let ready = HealthClient::new(server.channel()).check(HealthCheckRequest { service: "readiness".to_owned() }).await;
    assert_eq!(ready.expect("an answer").into_inner().status(), ServingStatus::Serving, "the database answers for it");
    for number in 0..3 {
        let name = format!("still silent {number}");
        database.shell(&format!("UPDATE products SET name = '{name}' WHERE id = 'a'")).await;
        let consistent = read_options::Consistency::FullyConsistent(true);
        let read = ReadOptions { consistency: Some(consistent), ..ReadOptions::default() };
        let reply = server.read("a", Some(read)).await.expect("a reply");
        let facts = reply.cache.expect("facts");
        assert_eq!((reply.product.expect("a").name, facts.stale), (name, false));
        assert_eq!(facts.tier(), CacheTier::Database);
    }
    // Others are answered, fresh, and writes go on.
    let other = server.get("b").await.cache.expect("facts");
    assert_eq!((other.tier(), other.stale), (CacheTier::Database, false));
    server.create(named("c", "c")).await;
    assert_eq!(server.get("c").await.product.expect("c").name, "c");

    let repaired = server.running().catalog().repository().repair().await.expect("a repair");
    assert!(repaired.iter().any(|line| line.contains("trigger")), "{repaired:?}");
    eventually("copies to be served again", async || {
        server.get("b").await;
        server.get("b").await.cache.expect("facts").tier() == CacheTier::L1
    })
    .await;
    assert_eq!(server.get("a").await.product.expect("a").name, "still silent 2");
    let seen = health(&server).await;
    assert!(seen.healthy && seen.change_log.expect("a change log").problem.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn one_row_that_cannot_be_read_costs_one_row() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    // A release before this one let such rows in.
    database.shell("DROP TRIGGER refuse_unreadable_update").await;
    for id in ["a", "bad", "c"] {
        server.create(product(id)).await;
        server.get(id).await;
    }
    database.shell("UPDATE products SET tags = '[\"\\ud83d\"]' WHERE id = 'bad'").await;
    let unreadable = Refusal::of(Code::DataLoss, "PRODUCT_UNREADABLE");
    eventually("the bad row to be noticed", async || server.read("bad", None).await.is_err()).await;
    for _ in 0..2 {
        let status = server.read("bad", None).await.expect_err("nobody can read it");
        assert_eq!(refusal(&status), unreadable);
        assert!(!status.message().contains("surrogate") && !status.message().contains("escape"), "{status}");
    }
    let mut client = server.client();
    let page = client.list_products(ListProductsRequest::default()).await.expect("a page").into_inner();
    let ids: Vec<_> = page.products.iter().map(|product| product.id.as_str()).collect();
    assert_eq!((ids, page.unreadable_ids), (vec!["a", "c"], vec!["bad".to_owned()]));
    let ids = ["c", "bad", "none", "a"].map(str::to_owned).to_vec();
    let batch = client.batch_get_products(BatchGetProductsRequest { ids, read: None }).await.expect("a batch");
    let batch = batch.into_inner();
    assert_eq!(
        (batch.products.len(), batch.missing_ids, batch.unreadable_ids),
        (2, vec!["none".to_owned()], vec!["bad".to_owned()])
    );
    let same = ListProductsRequest {
        read: Some(ReadOptions { same_snapshot: true, ..ReadOptions::default() }),
        ..ListProductsRequest::default()
    };
    let page = client.list_products(same).await.expect("a page of one snapshot").into_inner();
    assert_eq!((page.products.len(), page.unreadable_ids.len()), (2, 1));
    for id in ["a", "c"] {
        server.get(id).await;
        let facts = server.get(id).await.cache.expect("facts");
        assert_eq!((facts.tier(), facts.stale), (CacheTier::L1, false), "{id}");
    }
    // It can be replaced, and deleted.
    let whole = UpdateProductRequest { product: Some(product("bad")), ..UpdateProductRequest::default() };
    client.update_product(whole).await.expect("it is replaced");
    assert!(server.get("bad").await.product.is_some());
    database.shell("UPDATE products SET tags = '[\"\\ud83d\"]' WHERE id = 'bad'").await;
    client.delete_product(DeleteProductRequest { id: "bad".to_owned(), ..Default::default() }).await.expect("deleted");
    let page = client.list_products(ListProductsRequest::default()).await.expect("a page").into_inner();
    assert_eq!((page.products.len(), page.unreadable_ids.len()), (2, 0));
    server.stop().await;
}
