//! What only PostgreSQL can do, and what only it can go wrong with.

use std::{sync::Arc, time::Duration};

use larder_storage::{
    Changes, Creation, Deletion, Product, ProductRepository, Repository, StorageConfig, StorageError, Subject,
    WriteOptions,
};
use larder_test_servers::{Postgres, PostgresOptions};
use sqlx::{Connection, PgConnection};

use crate::{
    basics::full,
    bench::{Bench, Follower, Shell, named, until},
};

async fn connection(bench: &Bench) -> PgConnection {
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    PgConnection::connect(url).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_commits_late_is_told_late_and_once() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    let mut slow = connection(&bench).await;
    run(&mut slow, "BEGIN; INSERT INTO products (id, name) VALUES ('slow', 'x')").await;
    bench.create("fast", &full()).await;
    assert_eq!(follower.told().await, ["put fast"]);
    assert_eq!(follower.told().await, [""; 0]);
    assert!(!follower.snapshot.in_progress.is_empty());
    // The pruner must not take the late one for old, however short the retention is.
    bench.create("fast2", &full()).await;
    bench.repository.prune(Duration::ZERO).await.unwrap();
    run(&mut slow, "COMMIT").await;
    assert_eq!(follower.told().await, ["put fast2", "put slow"]);
    assert_eq!(follower.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_count_when_they_commit() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    let mut other = connection(&bench).await;
    let refused =
        sqlx::raw_sql("BEGIN; INSERT INTO products (id, name) VALUES ('a', 'x'); PREPARE TRANSACTION 'storage-test'")
            .execute(&mut other)
            .await;
    assert!(refused.is_err(), "a notification rules them out");
    run(&mut other, "ROLLBACK").await;
    run(
        &mut other,
        "SET larder.notify = 'off'; BEGIN; INSERT INTO products (id, name) VALUES ('a', 'x'); \
         PREPARE TRANSACTION 'storage-test'",
    )
    .await;
    bench.create("b", &full()).await;
    assert_eq!(follower.told().await, ["put b"]);
    run(&mut other, "COMMIT PREPARED 'storage-test'").await;
    assert_eq!(follower.told().await, ["put a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncate_is_a_change_of_everything() {
    let bench = Bench::postgres().await;
    bench.create("a", &full()).await;
    let mut follower = bench.follow().await;
    bench.sql("TRUNCATE products").await;
    // It alters the table as well, from where everything begins anew.
    let (from, _) = follower.window(100).await;
    assert!(from > 0);
    assert_eq!(bench.get("a").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_large_transaction_is_one_row() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    let insert = |from: u32, to: u32| {
        format!("INSERT INTO products (id, name) SELECT 'p' || n, 'x' FROM generate_series({from}, {to}) n")
    };
    bench.sql(&insert(1, 2_000)).await;
    let told = follower.told().await;
    assert!(told.len() == 2_000 && !told.contains(&"all".to_owned()));
    bench.sql("UPDATE products SET name = 'y'; INSERT INTO products (id, name) VALUES ('a', 'a')").await;
    let told = follower.told().await;
    assert!(
        told.len() == 2_001 && !told.contains(&"all".to_owned()),
        "two transactions, as psql commits each statement"
    );

    // A savepoint that is rolled back takes its `all` row and its count with it.
    bench
        .sql(&format!(
            "BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO SAVEPOINT s; {}; COMMIT",
            insert(3_001, 4_990),
            insert(5_001, 5_100),
            insert(6_001, 6_005)
        ))
        .await;
    let told = follower.told().await;
    assert!(told.len() == 1_995 && !told.contains(&"all".to_owned()), "{}", told.len());
    bench
        .sql(&format!(
            "BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO SAVEPOINT s; {}; COMMIT",
            insert(7_001, 8_990),
            insert(9_001, 9_100),
            insert(9_201, 9_250)
        ))
        .await;
    let told = follower.told().await;
    assert_eq!(told.len(), 2_001);
    assert_eq!(told[0], "all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_fire_whatever_the_session_is_set_to() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    bench
        .sql("SET session_replication_role = replica; SET search_path = ''; INSERT INTO public.products (id, name) VALUES ('a', 'x')")
        .await;
    assert_eq!(follower.told().await, ["put a"]);
    let version = bench.get("a").await.unwrap().version;
    bench.sql("SET session_replication_role = replica; UPDATE products SET name = 'y', version = 1").await;
    assert_eq!(follower.told().await, ["put a"]);
    assert!(bench.get("a").await.unwrap().version > version);
    bench.sql("SET session_replication_role = replica; TRUNCATE products").await;
    let (from, _) = follower.window(100).await;
    assert!(from > 0);

    // A role that may write products needs no right on the change log.
    bench.sql("CREATE ROLE storage_clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON products TO storage_clerk").await;
    follower.window(100).await;
    bench
        .sql(
            "\
             SET ROLE storage_clerk; INSERT INTO products (id, name) VALUES ('b', 'x'); DELETE FROM products",
        )
        .await;
    assert_eq!(follower.told().await, ["delete b", "put b"]);
    bench.sql("DROP OWNED BY storage_clerk; DROP ROLE storage_clerk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_is_enough_without_notifications() {
    let bench = Bench::postgres().await;
    let Shell::Postgres(server, url) = &bench.shell else { unreachable!() };
    let database = url.rsplit('/').next().unwrap();
    server.psql(url, &format!("ALTER DATABASE {database} SET larder.notify = 'off'")).await;
    let mut follower = bench.follow().await;
    bench.sql("INSERT INTO products (id, name) VALUES ('a', 'x')").await;
    assert_eq!(follower.told().await, ["put a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_went_back_are_another_incarnation() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    let incarnation = follower.incarnation;
    // As after a cold backup was put back: everything the same, but for the numbers.
    follower.snapshot.xmax += 1_000_000;
    follower.snapshot.xmin += 1_000_000;
    follower.window(100).await;
    assert_ne!(follower.incarnation, incarnation);
    let point = bench.repository.get(&[]).await.unwrap().point;
    assert_eq!(point.incarnation, Some(follower.incarnation), "loads agree with passes");
    bench.create("a", &full()).await;
    assert_eq!(follower.told().await, ["put a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_another_incarnation_and_loses_no_acknowledged_write() {
    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    let mut bench = Bench::over(Shell::Postgres(Arc::clone(&server), url.clone()), url).await;
    // So long that only somebody who waits for its end takes so long.
    bench.config.acquire_timeout = Duration::from_mins(1);
    bench.repository = Arc::new(bench.another().await);
    let mut follower = bench.follow().await;
    let mut kept: Vec<Product> = Vec::new();
    for round in 0..3 {
        let (before, snapshot) = (follower.incarnation, follower.snapshot.clone());
        // Writers that are cut in the middle of everything.
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let repository = Arc::clone(&bench.repository);
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for step in 0.. {
                        let id = format!("p{round}-{writer}-{step}");
                        match repository.create(&id, &full(), &WriteOptions::default()).await {
                            Ok(done) => match done.value {
                                Creation::Created(product) => acknowledged.push(product),
                                other => panic!("{other:?}"),
                            },
                            Err(
                                StorageError::Unavailable(_)
                                | StorageError::UnknownOutcome(_)
                                | StorageError::Timeout(_),
                            ) => break,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        until("some writes", || async { bench.number("SELECT count(*) FROM products").await > round * 100 + 50 }).await;
        server.kill();
        for writer in writers {
            kept.extend(writer.await.unwrap());
        }
        let begin = std::time::Instant::now();
        let error = bench.repository.get(&[]).await.unwrap_err();
        assert!(begin.elapsed() < bench.config.acquire_timeout, "a server that is away is noticed early");
        assert!(matches!(error, StorageError::Unavailable(_) | StorageError::Timeout(_)), "{error:?}");
        assert!(bench.repository.pass(Some((&snapshot, before)), 10).await.is_err());
        server.restart().await;
        // The first to come, a load or a write, names the new life.
        if round % 2 == 0 {
            let point = bench.repository.get(&[]).await.unwrap().point;
            assert!(point.incarnation.is_some_and(|incarnation| incarnation != before));
        } else {
            let done = bench
                .repository
                .create(&format!("first-{round}"), &named("x"), &WriteOptions::default())
                .await
                .unwrap();
            assert_ne!(done.commit.unwrap().incarnation, before);
        }
        follower.window(100_000).await;
        assert_ne!(follower.incarnation, before);
        for products in kept.chunks(500) {
            let ids: Vec<String> = products.iter().map(|product| product.id.clone()).collect();
            let loaded = bench.repository.get(&ids).await.unwrap();
            assert_eq!(loaded.value.found.len(), products.len(), "acknowledged writes are there");
            for product in loaded.value.found {
                assert!(products.contains(&product));
            }
        }
    }
    println!("{} acknowledged writes over three kills, all there", kept.len());

    // Notifications come again too.
    until("a notification", || async {
        bench.create(&format!("n{}", rand::random::<u32>()), &named("n")).await;
        let begin = std::time::Instant::now();
        bench.repository.changed(Duration::from_secs(2)).await;
        begin.elapsed() < Duration::from_secs(2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_no_source() {
    let settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    let url = server.create_database().await;
    let primary = Repository::connect(&StorageConfig::new(&url)).await.unwrap();
    primary.create("a", &full(), &WriteOptions::default()).await.unwrap();
    let mut follower = Follower::begin(Arc::new(primary)).await;
    let standby = server.start_standby().await;
    let database = url.rsplit('/').next().unwrap();
    let refused = Repository::connect(&StorageConfig::new(standby.url(database))).await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");

    // Promoted it is a primary of another incarnation.
    standby.psql("postgres", "SELECT pg_promote()").await;
    let promoted = Repository::connect(&StorageConfig::new(standby.url(database))).await.unwrap();
    let since = Some((&follower.snapshot, follower.incarnation));
    let pass = promoted.pass(since, 100).await.unwrap();
    assert_ne!(pass.incarnation, follower.incarnation);
    assert!(matches!(pass.changes, Changes::Window { .. }), "{:?}", pass.changes);
    assert_eq!(promoted.get(&["a".to_owned()]).await.unwrap().value.found.len(), 1);
    assert_eq!(follower.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_or_statement_that_takes_too_long_times_out() {
    let mut bench = Bench::postgres().await;
    bench.create("a", &full()).await;
    bench.config.max_connections = 1;
    bench.config.acquire_timeout = Duration::from_secs(1);
    bench.config.statement_timeout = Duration::from_secs(5);
    let narrow = Arc::new(bench.another().await);
    let mut lock = connection(&bench).await;
    run(&mut lock, "BEGIN; UPDATE products SET name = 'locked' WHERE id = 'a'").await;
    let blocked = tokio::spawn({
        let narrow = Arc::clone(&narrow);
        async move { narrow.delete("a", None).await }
    });
    let mut watcher = connection(&bench).await;
    // Other tests wait for locks in their own databases.
    let locks = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(locks).fetch_one(&mut watcher).await.unwrap() == 0 {}
    // Of two connections, the least that there are, one is for loads.
    let waiting = narrow.create("b", &full(), &WriteOptions::default()).await;
    assert!(matches!(waiting, Err(StorageError::Timeout(_))), "{waiting:?}");
    assert_eq!(narrow.get(&["a".to_owned()]).await.unwrap().value.found.len(), 1);
    let blocked = blocked.await.unwrap();
    assert!(matches!(blocked, Err(StorageError::Timeout(_))), "{blocked:?}");
    run(&mut lock, "ROLLBACK").await;
    until("the pool to work again", || async { narrow.get(&["a".to_owned()]).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_while_idle_are_not_noticed() {
    let bench = Bench::postgres().await;
    bench.create("a", &full()).await;
    let mut follower = bench.follow().await;
    for _ in 0..3 {
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        bench.sql(others).await;
        assert!(bench.get("a").await.is_some());
        bench.sql(others).await;
        bench.create(&format!("p{}", rand::random::<u32>()), &full()).await;
        bench.sql(others).await;
        assert_eq!(follower.changes().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_a_failed_transaction_is_not_taken_for_one() {
    // A trigger of somebody else's that makes the last statement before COMMIT fail late, at the commit itself.
    let bench = Bench::postgres().await;
    bench
        .sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON products DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let mut follower = bench.follow().await;
    let refused = bench.repository.create("a", &full(), &WriteOptions::default()).await;
    assert!(matches!(refused, Err(StorageError::Database(_))), "{refused:?}");
    assert_eq!(bench.get("a").await, None);
    assert_eq!(follower.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_of_a_lost_life_holds_for_nothing() {
    // What a restore from a backup does to the sequence.
    let bench = Bench::postgres().await;
    let lost = bench.create("a", &full()).await;
    bench.sql("DELETE FROM products; ALTER SEQUENCE product_version RESTART").await;
    let other = bench.create("a", &full()).await;
    assert_eq!(other.version >> 24, lost.version >> 24, "the number is used again");
    let differs = bench.repository.delete("a", Some(lost.version)).await.unwrap();
    assert_eq!(differs.value, Deletion::VersionDiffers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_change_of_terms_reaches_old_and_new_lists() {
    let bench = Bench::postgres().await;
    bench.sql("INSERT INTO products (id, name, categories) VALUES ('a', 'x', '{old,both}')").await;
    let mut follower = bench.follow().await;
    bench.sql("UPDATE products SET categories = '{both,new}', tags = '{t}'").await;
    let changes = follower.changes().await;
    assert!(matches!(&changes[0].subject, Subject::Put { terms, .. } if terms.len() == 4), "{changes:?}");
}
