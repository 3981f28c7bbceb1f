//! Rows that somebody has written by hand and nobody can read: one costs one.

use larder_storage::{
    Changes, Creation, Deletion, Filter, ListQuery, Order, OrderField, ProductRepository, SearchQuery, StorageError,
    Subject, Update, Updating, WriteOptions,
};

use crate::bench::{Bench, in_terms, named, until};

/// Lets in what a release before this one let in.
const OPEN_DOOR: &str = "DROP TRIGGER refuse_unreadable_insert; DROP TRIGGER refuse_unreadable_update; \
     DROP TRIGGER refuse_unreadable_invalidation";
/// Each makes one row of `bad` that cannot be read.
const BAD: [&str; 6] = [
    "UPDATE products SET name = CAST(x'4DFC6C6C6572' AS TEXT) WHERE id = 'bad'",
    "UPDATE products SET description = CAST(x'FF' AS TEXT) WHERE id = 'bad'",
    "UPDATE products SET categories = CAST(x'5B2263FC225D' AS TEXT) WHERE id = 'bad'",
    "UPDATE products SET tags = '[\"\\ud83d\"]' WHERE id = 'bad'",
    "UPDATE products SET attributes = '{\"a\":\"\\ud83d\"}' WHERE id = 'bad'",
    "UPDATE products SET image_url = printf('%.*c', 4000000, 'x') WHERE id = 'bad'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_cannot_be_read_is_an_error_of_its_own_and_left_out_of_lists() {
    for sql in BAD {
        let bench = Bench::sqlite().await;
        for id in ["a", "bad", "c"] {
            bench.create(id, &in_terms("shirt", &["c"], &["t"])).await;
        }
        let refused = bench.try_sql(sql).await.unwrap_err();
        assert!(refused.contains("the text of a product is"), "{sql}: {refused}");
        bench.sql(OPEN_DOOR).await;
        let mut follower = bench.follow().await;
        bench.sql(sql).await;
        // The look goes on, and nothing is missed.
        let changes = follower.changes().await;
        let told = |subject: &Subject| {
            matches!(subject, Subject::All) || matches!(subject, Subject::Put { key, .. } if key == "bad")
        };
        assert!(!changes.is_empty() && changes.iter().all(|change| told(&change.subject)), "{sql}: {changes:?}");

        let ids = ["a", "bad", "c"].map(str::to_owned);
        let loaded = bench.repository.get(&ids).await.unwrap().value;
        assert_eq!((loaded.found.len(), loaded.unreadable), (2, vec!["bad".to_owned()]), "{sql}");
        let scanned = bench.repository.scan(&Filter::default(), None, 10).await.unwrap();
        assert_eq!((scanned.found.len(), scanned.unreadable.len(), scanned.last_id()), (2, 1, Some("c")), "{sql}");
        let alone = bench.repository.scan(&Filter::default(), Some("a"), 1).await.unwrap();
        assert_eq!(alone.last_id(), Some("bad"), "{sql}: a scan gets past it");

        for field in [OrderField::Id, OrderField::Name, OrderField::CreateTime, OrderField::Price] {
            for descending in [false, true] {
                let order = Order { field, descending };
                let filter = Filter::default();
                let mut query = ListQuery { filter, order, after: None, limit: 1, count: true };
                let mut all = Vec::new();
                loop {
                    let (page, products) = bench.repository.list_whole(&query).await.unwrap().value;
                    assert_eq!(page.total, Some(3));
                    assert_eq!(products.found.len() + products.unreadable.len(), page.ids.len());
                    all.extend(page.ids);
                    let Some(next) = page.next else { break };
                    assert!(all.len() < 4, "{sql} {order:?}: the pages do not end: {all:?}");
                    query.after = Some(next);
                }
                all.sort_unstable();
                assert_eq!(all, ids, "{sql} {order:?}");
            }
        }
        let query = SearchQuery { words: vec!["shirt".to_owned()], filter: Filter::default(), after: None, limit: 10 };
        let (page, products) = bench.repository.search_whole(&query).await.unwrap().value;
        assert_eq!(products.found.len() + products.unreadable.len(), page.ids.len(), "{sql}");

        let half = Update {
            id: "bad".to_owned(),
            data: named("other"),
            mask: larder_storage::ProductMask { in_stock: true, ..Default::default() },
            version: None,
            allow_missing: false,
        };
        let updated = bench.repository.update(&half, &WriteOptions::default()).await;
        assert!(matches!(&updated, Err(StorageError::Unreadable(id)) if id == "bad"), "{sql}: {updated:?}");
        let whole = Update { mask: larder_storage::ProductMask::ALL, ..half };
        let updated = bench.repository.update(&whole, &WriteOptions::default()).await.unwrap();
        assert!(matches!(updated.value, Updating::Updated(_)), "{sql}: {:?}", updated.value);
        assert!(bench.get("bad").await.is_some(), "{sql}: it was replaced");
        bench.sql(sql).await;
        let deleted = bench.repository.delete("bad", None).await.unwrap();
        assert_eq!(deleted.value, Deletion::Deleted, "{sql}");
        assert!(matches!(follower.pass(100).await, Changes::Complete(_)), "{sql}");
        let again = bench.another().await;
        assert!(matches!(again.pass(None, 100).await.unwrap().changes, Changes::Window { .. }), "{sql}");
        assert!(bench.get("bad").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_replaces_what_cannot_be_read() {
    let bench = Bench::sqlite().await;
    bench.create("bad", &named("x")).await;
    bench.sql(OPEN_DOOR).await;
    bench.sql(BAD[2]).await;
    let products = [("bad".to_owned(), named("y")), ("new".to_owned(), named("z"))];
    let imported = bench.repository.import(&products).await.unwrap().value;
    assert_eq!(imported, [larder_storage::Imported::Updated, larder_storage::Imported::Created]);
    assert_eq!(bench.get("bad").await.unwrap().data, named("y"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_the_log_that_cannot_be_read_is_a_change_of_everything() {
    let sqlite = [
        "INSERT INTO changes (kind, key, tags) VALUES ('put', 'a', '[\"\\ud83d\"]')",
        "INSERT INTO changes (kind, key, tags) VALUES ('put', 'a', '[1]')",
        "INSERT INTO changes (kind, key, categories) VALUES ('delete', 'a', CAST(x'5B2263FC225D' AS TEXT))",
        "INSERT INTO changes (kind, key) VALUES ('tag', CAST(x'FF' AS TEXT))",
        "INSERT INTO changes (kind, key) VALUES ('pattern', printf('%.*c', 4000000, 'x'))",
    ];
    // As a release before this one let them in.
    let postgres = [
        "INSERT INTO changes (kind, key, version, tags) VALUES ('put', 'a', 1, ARRAY['x', NULL])",
        "INSERT INTO changes (kind, key, version, categories) VALUES ('put', 'a', 1, ARRAY[['x'], ['y']])",
        "INSERT INTO changes (kind, key) VALUES ('key', repeat('x', 4000000))",
        "INSERT INTO changes (kind, key, version, tags) SELECT 'put', 'a', 1, array_agg('t' || n) FROM generate_series(1, 100000) n",
    ];
    for (bench, rows) in [(Bench::sqlite().await, &sqlite[..]), (Bench::postgres().await, &postgres[..])] {
        if bench.is_postgres() {
            let refused = bench.try_sql(rows[0]).await.unwrap_err();
            assert!(refused.contains("changes_terms_flat"), "{refused}");
            let refused = bench.try_sql(rows[2]).await.unwrap_err();
            assert!(refused.contains("changes_key_length"), "{refused}");
            bench
                .sql("ALTER TABLE changes DROP CONSTRAINT changes_terms_flat, DROP CONSTRAINT changes_key_length")
                .await;
        } else {
            for sql in &rows[3..] {
                let refused = bench.try_sql(sql).await.unwrap_err();
                assert!(refused.contains("the key of a change is"), "{sql}: {refused}");
            }
            bench.sql(OPEN_DOOR).await;
        }
        let mut follower = bench.follow().await;
        for sql in rows {
            bench.sql(sql).await;
            bench.create("b", &named("x")).await;
            assert_eq!(follower.told().await, ["all", "put b"], "{sql}");
            bench.repository.delete("b", None).await.unwrap();
            follower.changes().await;
            let again = bench.another().await;
            assert!(matches!(again.pass(None, 100).await.unwrap().changes, Changes::Window { .. }), "{sql}");
        }
    }
}

/// Somebody's rows of megabytes would make a look take longer than the staleness bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_the_log_that_is_too_large_is_not_fetched() {
    let bench = Bench::postgres().await;
    bench.sql("ALTER TABLE changes DROP CONSTRAINT changes_key_length").await;
    let first = bench.repository.pass(None, 100).await.unwrap();
    bench
        .sql("INSERT INTO changes (kind, key) SELECT 'key', string_agg(md5(n::text), '') FROM generate_series(1, 40000) n")
        .await;
    bench.repository.close().await;
    let written = out_of_line(&bench).await;
    let reader = bench.another().await;
    let next = reader.pass(Some((&first.snapshot, first.incarnation)), 100).await.unwrap();
    assert!(matches!(&next.changes, Changes::Complete(changes) if changes.len() == 1), "{:?}", next.changes);
    assert!(matches!(reader.pass(None, 100).await.unwrap().changes, Changes::Window { .. }));
    reader.close().await;
    assert_eq!(out_of_line(&bench).await, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_logged_before_the_triggers_were_altered_is_not_fetched() {
    let bench = Bench::postgres().await;
    bench
        .sql("INSERT INTO changes (kind, key) SELECT 'key', string_agg(md5(n::text), '') FROM generate_series(1, 10000) n")
        .await;
    let first = bench.repository.pass(None, 100).await.unwrap();
    bench.repository.close().await;
    bench
        .sql(
            "ALTER TABLE products DISABLE TRIGGER product_after_write; \
             ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write",
        )
        .await;
    let written = out_of_line(&bench).await;
    let reader = bench.another().await;
    let next = reader.pass(Some((&first.snapshot, first.incarnation)), 100).await.unwrap();
    assert!(matches!(&next.changes, Changes::Window { changes, .. } if changes.is_empty()), "{:?}", next.changes);
    reader.close().await;
    assert_eq!(out_of_line(&bench).await, written);
}

/// How many blocks of values that are stored out of line were touched. A session counts them when it ends.
async fn out_of_line(bench: &Bench) -> i64 {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("no other session", || async { bench.number(others).await == 0 }).await;
    bench.number("SELECT toast_blks_hit + toast_blks_read FROM pg_statio_user_tables WHERE relname = 'changes'").await
}

pub(crate) async fn a_remembered_reply_that_cannot_be_read_is_said_to_be(bench: Bench) {
    let options = WriteOptions { request_id: Some("r".to_owned()), validate_only: false };
    let created = bench.repository.create("a", &named("x"), &options).await.unwrap();
    assert!(matches!(created.value, Creation::Created(_)));
    let mut garbage = vec!["'{'", "''"];
    if !bench.is_postgres() {
        garbage.push("CAST(x'FF' AS TEXT)");
    }
    for reply in garbage {
        bench.sql(&format!("UPDATE requests SET reply = {reply}")).await;
        let again = bench.repository.create("a", &named("x"), &options).await;
        assert!(matches!(again, Err(StorageError::UnreadableReply(_))), "{reply}: {again:?}");
    }
    assert!(bench.get("a").await.is_some());
}
