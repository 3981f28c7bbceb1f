//! Changes that somebody types into psql or sqlite3.

use std::time::Instant;

use larder_storage::{Changes, ProductRepository, Subject};

use crate::bench::{Bench, in_terms, tell};

pub(crate) async fn statements_typed_by_hand_are_logged(bench: Bench) {
    let mut follower = bench.follow().await;
    let created = bench.create("a", &in_terms("a", &["x"], &[])).await;
    follower.changes().await;
    bench.sql("UPDATE products SET name = 'b' WHERE id = 'a'").await;
    assert_eq!(follower.told().await, ["put a"]);
    let product = bench.get("a").await.unwrap();
    assert!(product.version > created.version && product.update_time >= created.update_time);
    for column in [
        "description = 'd'",
        "price_currency = 'EUR', price_units = 5",
        "image_url = 'u'",
        "in_stock = (1 = 1)",
        "create_time = create_time",
        "version = version",
    ] {
        bench.sql(&format!("UPDATE products SET {column} WHERE id = 'a'")).await;
        assert_eq!(follower.told().await, ["put a"], "{column}");
    }
    bench
        .sql("INSERT INTO products (id, name) VALUES ('b', 'b'), ('c', 'c'); DELETE FROM products WHERE id = 'a'")
        .await;
    assert_eq!(follower.told().await, ["delete a", "put b", "put c"]);
    bench.sql("DELETE FROM products").await;
    assert_eq!(follower.told().await, ["delete b", "delete c"]);
}

pub(crate) async fn a_row_typed_by_hand_gets_defaults(bench: Bench) {
    bench.sql("INSERT INTO products (id, name) VALUES ('a', 'b')").await;
    let product = bench.get("a").await.unwrap();
    assert_eq!(product.data, crate::bench::named("b"));
    assert!(product.version > 0);
    let age = product.create_time.elapsed().unwrap_or_default();
    assert!(age < std::time::Duration::from_mins(1), "{age:?}");
    assert_eq!(product.create_time, product.update_time);
}

pub(crate) async fn an_id_cannot_be_changed(bench: Bench) {
    let mut follower = bench.follow().await;
    let product = bench.create("a", &in_terms("a", &[], &[])).await;
    follower.changes().await;
    let error = bench.try_sql("UPDATE products SET id = 'b' WHERE id = 'a'").await.unwrap_err();
    assert!(error.contains("cannot be changed"), "{error}");
    assert_eq!(bench.get("a").await, Some(product));
    assert_eq!(follower.told().await, [""; 0]);
}

pub(crate) async fn a_bulk_update_of_100_000_rows(bench: Bench) {
    let insert = if bench.is_postgres() {
        "INSERT INTO products (id, name) SELECT 'p' || n, 'x' FROM generate_series(1, 100000) n"
    } else {
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) \
         INSERT INTO products (id, name) SELECT 'p' || n, 'x' FROM s"
    };
    let begin = Instant::now();
    bench.sql(insert).await;
    println!("inserted 100,000 rows in {:?}", begin.elapsed());
    let mut follower = bench.follow().await;
    let begin = Instant::now();
    bench.sql("UPDATE products SET in_stock = (1 = 1)").await;
    println!("updated 100,000 rows in {:?}", begin.elapsed());
    let begin = Instant::now();
    match follower.pass(10_000).await {
        Changes::Complete(changes) => {
            assert!(changes.len() <= 2_001, "{}", changes.len());
            assert!(changes.iter().any(|change| change.subject == Subject::All));
        }
        Changes::Window { .. } => assert!(!bench.is_postgres()),
        Changes::Incomplete(why) => panic!("{why}"),
    }
    println!("a pass over that took {:?}", begin.elapsed());
    assert_eq!(follower.told().await, [""; 0]);
}

pub(crate) async fn savepoints_and_rolled_back_transactions(bench: Bench) {
    let mut follower = bench.follow().await;
    bench
        .sql(
            "BEGIN; INSERT INTO products (id, name) VALUES ('a', 'a'); SAVEPOINT s; \
             INSERT INTO products (id, name) VALUES ('b', 'b'); ROLLBACK TO SAVEPOINT s; \
             INSERT INTO products (id, name) VALUES ('c', 'c'); COMMIT;",
        )
        .await;
    assert_eq!(follower.told().await, ["put a", "put c"]);
    bench.sql("BEGIN; UPDATE products SET name = 'x'; DELETE FROM products; ROLLBACK;").await;
    assert_eq!(follower.told().await, [""; 0]);
    let (a, c) = (bench.get("a").await.unwrap(), bench.get("c").await.unwrap());
    assert!(a.version != c.version);
}

pub(crate) async fn an_upsert_by_hand_is_logged(bench: Bench) {
    let mut follower = bench.follow().await;
    bench.create("a", &in_terms("old", &["x"], &["t"])).await;
    follower.changes().await;
    bench
        .sql("INSERT INTO products (id, name) VALUES ('a', 'new') ON CONFLICT (id) DO UPDATE SET name = excluded.name")
        .await;
    let changes = follower.changes().await;
    let told: Vec<String> = changes.iter().map(|change| tell(&change.subject)).collect();
    assert_eq!(told, ["put a"]);
    let product = bench.get("a").await.unwrap();
    assert_eq!((product.data.name.as_str(), product.data.tags.len()), ("new", 1));
    bench.sql("INSERT INTO products (id, name) VALUES ('a', 'z'), ('b', 'b') ON CONFLICT (id) DO NOTHING").await;
    assert_eq!(follower.told().await, ["put b"]);
    let words = larder_storage::SearchQuery {
        words: vec!["new".to_owned()],
        filter: larder_storage::Filter::default(),
        after: None,
        limit: 10,
    };
    assert_eq!(bench.repository.search(&words).await.unwrap().value.ids, ["a"]);
}
