//! The triggers that write the change log, missing, altered and switched off.

use larder_storage::{Change, Changes, ProductRepository, Replay, Subject};

use crate::bench::{Bench, Follower, named};

/// Why the log is incomplete; `None` when it is complete.
async fn wrong(follower: &mut Follower) -> Option<String> {
    match follower.pass(10_000).await {
        Changes::Incomplete(why) => Some(why.to_string()),
        Changes::Complete(_) | Changes::Window { .. } => None,
    }
}

/// Whether anything may have changed since the last look; asserts that the log is complete.
async fn starts_anew(follower: &mut Follower) -> bool {
    match follower.pass(10_000).await {
        Changes::Window { .. } => true,
        Changes::Complete(_) => false,
        Changes::Incomplete(why) => panic!("{why}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_that_are_not_all_there_and_always_make_the_log_incomplete() {
    let bench = Bench::postgres().await;
    bench.create("a", &named("x")).await;
    let cases = [
        ("ALTER TABLE products DISABLE TRIGGER ALL", "product_after_write of products is switched off"),
        ("ALTER TABLE products ENABLE TRIGGER ALL", "product_after_write of products does not fire always"),
        (
            "ALTER TABLE products ENABLE REPLICA TRIGGER product_before_write",
            "product_before_write of products does not",
        ),
        ("DROP TRIGGER product_after_truncate ON products", "product_after_truncate of products is missing"),
        ("ALTER TABLE changes DISABLE TRIGGER change_before_insert", "change_before_insert of changes is switched off"),
        (
            "CREATE OR REPLACE TRIGGER product_after_write AFTER INSERT OR UPDATE ON products \
             FOR EACH ROW EXECUTE FUNCTION product_after_write(); \
             ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write",
            "product_after_write of products does not fire for every change",
        ),
        (
            "CREATE OR REPLACE TRIGGER product_after_write AFTER INSERT OR UPDATE OR DELETE ON products \
             FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION product_after_write(); \
             ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write",
            "product_after_write of products does not fire for every change",
        ),
        (
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE OR REPLACE TRIGGER product_after_write AFTER INSERT OR UPDATE OR DELETE ON products \
             FOR EACH ROW EXECUTE FUNCTION nothing(); \
             ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write",
            "product_after_write of products calls another function",
        ),
    ];
    for (sql, expected) in cases {
        let mut follower = bench.follow().await;
        bench.sql(sql).await;
        let why = wrong(&mut follower).await.unwrap_or_else(|| panic!("complete after {sql}"));
        assert!(why.contains(expected) && why.contains("larder database repair"), "{sql}: {why}");
        assert_eq!(wrong(&mut follower).await, Some(why), "and stays so");
        let since = follower.snapshot.clone();
        let replayed = bench.repository.replay(&since, follower.incarnation, 10).await.unwrap();
        assert!(
            matches!(&replayed, Replay::Told(pass) if matches!(pass.changes, Changes::Window { .. })),
            "{replayed:?}"
        );
        // Who begins now is told, too.
        let first = bench.another().await.pass(None, 10_000).await.unwrap();
        assert!(matches!(first.changes, Changes::Incomplete(_)), "{:?}", first.changes);

        let repaired = bench.repository.repair().await.unwrap();
        assert!(repaired.iter().any(|line| line.contains(expected)), "{sql}: {repaired:?}");
        assert!(starts_anew(&mut follower).await, "{sql}: what was changed meanwhile is not known");
        assert!(!starts_anew(&mut follower).await);
        bench.sql("UPDATE products SET name = 'y'; SET session_replication_role = replica; DELETE FROM products").await;
        assert_eq!(follower.told().await, ["delete a", "put a"], "{sql}");
        bench.create("a", &named("x")).await;
    }
    assert_eq!(bench.repository.repair().await.unwrap(), [""; 0], "nothing was wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_that_were_off_for_a_moment_are_noticed() {
    let bench = Bench::postgres().await;
    bench.create("a", &named("x")).await;
    let off_and_on = |what: &str| {
        format!(
            "BEGIN; ALTER TABLE products DISABLE TRIGGER product_after_write; {what}; \
             ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write; COMMIT"
        )
    };
    let silent = [
        off_and_on("UPDATE products SET name = 'silent'"),
        // Rewrites the rows, which no trigger sees.
        "ALTER TABLE products ALTER COLUMN image_url TYPE text USING 'https://example.com/' || id".to_owned(),
        "TRUNCATE changes".to_owned(),
        "BEGIN; CREATE OR REPLACE FUNCTION next_product_version() RETURNS bigint LANGUAGE sql \
         AS 'SELECT nextval(''public.product_version'') << 24'; \
         CREATE OR REPLACE TRIGGER product_before_write BEFORE INSERT OR UPDATE ON products \
         FOR EACH ROW EXECUTE FUNCTION product_before_write(); \
         ALTER TABLE products ENABLE ALWAYS TRIGGER product_before_write; COMMIT"
            .to_owned(),
    ];
    for sql in silent {
        let mut follower = bench.follow().await;
        let horizon = bench.repository.get(&["a".to_owned()]).await.unwrap().point.snapshot.xmin;
        bench.sql(&sql).await;
        let first = bench.another().await.pass(None, 10_000).await.unwrap();
        let Changes::Window { from, .. } = first.changes else { panic!("{:?}", first.changes) };
        assert!(from > horizon, "{sql}: a copy of before is not vouched for by who begins after it");
        let replayed = bench.repository.replay(&follower.snapshot, follower.incarnation, 10).await.unwrap();
        assert!(
            !matches!(&replayed, Replay::Told(pass) if matches!(pass.changes, Changes::Complete(_))),
            "{sql}: {replayed:?}"
        );
        assert!(starts_anew(&mut follower).await, "{sql}");
        assert!(!starts_anew(&mut follower).await, "{sql}: once");
    }
    // What alters nothing of them costs nothing.
    let mut follower = bench.follow().await;
    bench.sql("VACUUM ANALYZE products; ANALYZE changes; VACUUM FREEZE pg_trigger").await;
    assert!(!starts_anew(&mut follower).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alteration_that_commits_late_is_noticed_when_it_does() {
    let bench = Bench::postgres().await;
    let crate::bench::Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut other = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
    let sql = "CREATE OR REPLACE FUNCTION product_after_truncate() RETURNS trigger LANGUAGE plpgsql \
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp \
        AS 'BEGIN INSERT INTO public.changes (kind) VALUES (''all''); RETURN NULL; END'";
    // No snapshot says of a subtransaction whether it is in progress.
    for begin in ["BEGIN", "BEGIN; SAVEPOINT one"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{begin}; {sql}"))).execute(&mut other).await.unwrap();
        bench.create(&format!("b{}", begin.len()), &named("later in its id, earlier in its commit")).await;
        let mut follower = bench.follow().await;
        assert!(!starts_anew(&mut follower).await);
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        assert!(starts_anew(&mut follower).await, "{begin}");
        assert!(!starts_anew(&mut follower).await, "{begin}: once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alteration_is_noticed_once_however_old_a_transaction_is_open() {
    let bench = Bench::postgres().await;
    let crate::bench::Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut other = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut other).await.unwrap();
    let mut follower = bench.follow().await;
    bench.sql("ALTER TABLE products ALTER COLUMN image_url TYPE text USING 'https://example.com/' || id").await;
    assert!(starts_anew(&mut follower).await);
    assert!(!starts_anew(&mut follower).await, "once");
    bench.create("a", &named("x")).await;
    assert_eq!(follower.told().await, ["put a"]);
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
}

pub(crate) async fn a_mark_that_was_removed_is_put_back(bench: Bench) {
    bench.create("a", &named("x")).await;
    let mut follower = bench.follow().await;
    bench.sql("DELETE FROM changes_pruned").await;
    bench.create("b", &named("x")).await;
    assert!(starts_anew(&mut follower).await, "nobody knows what was pruned");
    while starts_anew(&mut follower).await {}
    bench.create("c", &named("x")).await;
    assert_eq!(follower.told().await, ["put c"]);
    let first = bench.another().await.pass(None, 10_000).await.unwrap();
    let Changes::Window { changes, .. } = first.changes else { panic!("{:?}", first.changes) };
    assert!(changes.iter().any(|Change { subject, .. }| matches!(subject, Subject::Put { key, .. } if key == "c")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_sqlite_that_is_dropped_or_altered_makes_the_log_incomplete() {
    let bench = Bench::sqlite().await;
    bench.create("a", &named("x")).await;
    let made = bench.sql("SELECT sql FROM sqlite_schema WHERE name = 'product_after_update'").await;
    let other = made.replace("INSERT INTO changes (kind, key, categories, tags)\n    VALUES", "SELECT");
    let cases = [
        ("DROP TRIGGER product_after_delete".to_owned(), "trigger product_after_delete is missing"),
        ("DROP TRIGGER change_number".to_owned(), "trigger change_number is missing"),
        (
            format!("DROP TRIGGER product_after_update; {other}"),
            "trigger product_after_update is not the one that a migration made",
        ),
    ];
    assert_ne!(made, other);
    for (sql, expected) in cases {
        let mut follower = bench.follow().await;
        bench.sql(&sql).await;
        let why = wrong(&mut follower).await.unwrap_or_else(|| panic!("complete after {sql}"));
        assert!(why.contains(expected) && why.contains("larder database repair"), "{sql}: {why}");
        assert_eq!(wrong(&mut follower).await, Some(why), "and stays so");
        let replayed = bench.repository.replay(&follower.snapshot, follower.incarnation, 10).await.unwrap();
        assert!(
            matches!(&replayed, Replay::Told(pass) if matches!(pass.changes, Changes::Window { .. })),
            "{sql}: {replayed:?}"
        );
        let first = bench.another().await.pass(None, 10_000).await.unwrap();
        assert!(matches!(first.changes, Changes::Incomplete(_)), "{:?}", first.changes);
        assert_eq!(bench.another().await.repair().await.unwrap(), [expected], "{sql}");
        let changes = follower.changes().await;
        assert!(changes.iter().any(|change| change.subject == Subject::All), "{sql}: {changes:?}");
        bench.sql("UPDATE products SET name = 'y'; DELETE FROM products").await;
        assert_eq!(follower.told().await, ["delete a", "put a"], "{sql}");
        bench.create("a", &named("x")).await;
    }
    assert_eq!(bench.repository.repair().await.unwrap(), [""; 0], "nothing was wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_sqlite_that_was_altered_is_a_change_of_everything() {
    let bench = Bench::sqlite().await;
    bench.create("a", &named("x")).await;
    let made = bench.sql("SELECT sql FROM sqlite_schema WHERE name = 'product_after_update'").await;
    let mut follower = bench.follow().await;
    let silently =
        format!("BEGIN; DROP TRIGGER product_after_update; UPDATE products SET description = 'silent'; {made}; COMMIT");
    bench.sql(&silently).await;
    assert_eq!(follower.told().await, ["all"]);
    assert_eq!(follower.told().await, [""; 0], "once");
    // So that a replica is told, too, that was not there.
    bench.repository.close().await;
    bench.sql(&silently).await;
    let later = bench.another().await;
    let pass = later.pass(Some((&follower.snapshot, follower.incarnation)), 10_000).await.unwrap();
    let Changes::Complete(changes) = pass.changes else { panic!("{:?}", pass.changes) };
    assert!(changes.iter().any(|change| change.subject == Subject::All), "{changes:?}");
}
