//! What is told.

use larder_proto::catalog::{Product, ProductEventKind as Kind, ProductFilter};

use super::stream::{Watching, version};
use crate::harness::{Database, Server, named, on_both_databases};

on_both_databases!(
    a_product_is_followed_through_its_lives,
    a_filter_tells_who_left,
    what_is_typed_by_hand_is_told,
    a_bulk_change_is_told_as_one,
    what_others_write_is_told,
);

async fn a_product_is_followed_through_its_lives(database: &Database) {
    let server = Server::start(database).await;
    let mut watching = Watching::start(&server).await;
    let mut last = 0;
    for life in 0..3 {
        let created = server.create(named("a", &format!("Life {life}"))).await.product.expect("a product");
        let event = watching.event().await.expect("an event");
        assert_eq!((event.kind(), &event.id, &event.etag), (Kind::Put, &created.id, &created.etag));
        assert_eq!(event.product.as_ref(), Some(&created));
        assert!(version(&event) > last);

        let updated = server.update(named("a", "Changed"), &["name"]).await.product.expect("a product");
        let event = watching.event().await.expect("an event");
        assert_eq!((event.kind(), &event.etag, event.product.as_ref()), (Kind::Put, &updated.etag, Some(&updated)));
        last = version(&event);

        server.delete("a").await;
        let event = watching.event().await.expect("an event");
        assert_eq!((event.kind(), event.id.as_str(), &event.product), (Kind::Delete, "a", &None));
        assert!(version(&event) > last);
        last = version(&event);
    }
    server.stop().await;
}

async fn a_filter_tells_who_left(database: &Database) {
    let server = Server::start(database).await;
    let filter = ProductFilter { category: "pans".to_owned(), in_stock: Some(true), ..Default::default() };
    let mut watching = Watching::open(&server, "", Some(filter)).await.expect("a stream");
    let product = |id: &str, category: &str, in_stock| Product {
        categories: vec![category.to_owned()],
        in_stock,
        ..named(id, id)
    };
    let told = |kind, id: &str, name: &str| (kind, id.to_owned(), name.to_owned());
    // Never in the category, and so never told of.
    server.create(product("pot", "pots", true)).await;
    server.create(product("pan", "pans", true)).await;
    assert_eq!(watching.short().await, told(Kind::Put, "pan", "pan"));
    server.delete("pot").await;
    server.update(product("pan", "pans", false), &["in_stock"]).await;
    assert_eq!(watching.short().await, told(Kind::Left, "pan", "pan"));
    server.update(product("pan", "pans", true), &["in_stock"]).await;
    assert_eq!(watching.short().await, told(Kind::Put, "pan", "pan"));
    server.update(product("pan", "pots", true), &["categories"]).await;
    assert_eq!(watching.short().await, told(Kind::Left, "pan", "pan"));
    server.update(named("pan", "Elsewhere"), &["name"]).await;
    server.delete("pan").await;
    server.create(product("pan", "pans", true)).await;
    assert_eq!(watching.short().await, told(Kind::Put, "pan", "pan"));
    server.delete("pan").await;
    assert_eq!(watching.short().await, told(Kind::Delete, "pan", ""));
    server.stop().await;
}

async fn what_is_typed_by_hand_is_told(database: &Database) {
    let server = Server::start(database).await;
    let mut watching = Watching::start(&server).await;
    let told = |kind, id: &str, name: &str| (kind, id.to_owned(), name.to_owned());
    database.shell("INSERT INTO products (id, name) VALUES ('a', 'Typed')").await;
    assert_eq!(watching.short().await, told(Kind::Put, "a", "Typed"));
    // Requested invalidations change no product.
    database
        .shell(
            "INSERT INTO changes (kind, key) VALUES ('key', 'a'), ('category', 'c'), ('tag', 't'), ('pattern', 'a*')",
        )
        .await;
    database
        .shell("UPDATE products SET name = 'Again' WHERE id = 'a'; UPDATE products SET name = 'Lost' WHERE id = 'b'")
        .await;
    assert_eq!(watching.short().await, told(Kind::Put, "a", "Again"));
    database.shell("BEGIN; DELETE FROM products; ROLLBACK").await;
    database.shell("DELETE FROM products").await;
    assert_eq!(watching.short().await, told(Kind::Delete, "a", ""));
    server.stop().await;
}

async fn a_bulk_change_is_told_as_one(database: &Database) {
    let server = Server::start_with(database, |config| config.cache.max_changes_per_pass = 3_000).await;
    let watching = Watching::start(&server).await;
    let before = watching.token.clone();
    let insert = match database {
        Database::Postgres { .. } => {
            "INSERT INTO products (id, name) SELECT 'p' || n, 'Bulk' FROM generate_series(1, 5000) n"
        }
        Database::Sqlite(_) => {
            "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 5000) \
             INSERT INTO products (id, name) SELECT 'p' || n, 'Bulk' FROM s"
        }
    };
    database.shell(insert).await;
    for mut watching in [watching, Watching::open(&server, &before, None).await.expect("a stream")] {
        assert_eq!(watching.short().await, (Kind::Resync, String::new(), String::new()));
        // What is read after a resync shows it all.
        server.get("p4999").await;
        server.import([named("last", &watching.token)]).await;
        let mut told = 0;
        loop {
            let event = watching.event().await.expect("an event");
            assert_eq!(event.kind(), Kind::Put, "one resync for one change");
            if event.id == "last" {
                break;
            }
            told += 1;
            if told == 1 {
                // The middle of what is told beside a resync is no worse a place to go on from than any other.
                watching = Watching::open(&server, &watching.token, None).await.expect("a stream");
            }
        }
        assert!(told <= 2_000, "{told}");
    }
    server.stop().await;
}

async fn what_others_write_is_told(database: &Database) {
    let (server, other) = (Server::start(database).await, Server::start(database).await);
    let mut watching = Watching::start(&server).await;
    for round in 0..100 {
        let name = format!("Round {round}");
        other.import([named("a", &name)]).await;
        assert_eq!(watching.short().await, (Kind::Put, "a".to_owned(), name));
    }
    // And resumed over there.
    other.delete("a").await;
    let mut elsewhere = Watching::open(&other, &watching.token, None).await.expect("a stream");
    assert_eq!(elsewhere.short().await, (Kind::Delete, "a".to_owned(), String::new()));
    server.stop().await;
    other.stop().await;
}
