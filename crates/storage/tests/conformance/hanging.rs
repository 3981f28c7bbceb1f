//! A database that hangs, in part or as a whole: what does not hang must go on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use larder_storage::{
    ProductData, ProductMask, ProductRepository, Repository, StorageConfig, StorageError, Update, WriteOptions,
};
use larder_test_servers::{Gate, PgBouncer, Postgres, PostgresOptions};
use sqlx::{Connection, PgConnection, postgres::PgListener};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    basics::full,
    bench::{Bench, Shell, named, until},
};

/// Long enough for anything that does not hang, on a busy machine.
const PLENTY: Duration = Duration::from_secs(20);
const STUCK: usize = 64;

/// Products that can be read, and one more for each writer.
async fn stock(repository: &Repository) {
    let product = |id: String| (id, full());
    let products: Vec<_> = (0..20)
        .map(|number| product(format!("read-{number}")))
        .chain((0..STUCK).map(|number| product(format!("written-{number}"))))
        .collect();
    repository.import(&products).await.expect("products");
}

/// Reads as readers and the follower do, while others hang.
async fn reads_go_on(repository: &Repository) {
    let reading = async {
        let mut pass = repository.pass(None, 10).await.expect("a pass");
        for round in 0..100 {
            let id = format!("read-{}", round % 20);
            assert_eq!(repository.get(&[id]).await.expect("a load").value.found.len(), 1);
            pass = repository.pass(Some((&pass.snapshot, pass.incarnation)), 10).await.expect("a pass");
        }
    };
    timeout(PLENTY, reading).await.expect("reads that do not wait for writes");
}

fn write(repository: &Arc<Repository>, id: String) -> JoinHandle<Result<(), StorageError>> {
    let repository = Arc::clone(repository);
    let data = named("written");
    let mask = ProductMask { name: true, ..ProductMask::default() };
    let update = Update { id, data, mask, version: None, allow_missing: false };
    tokio::spawn(async move { repository.update(&update, &WriteOptions::default()).await.map(drop) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_behind_a_locked_row_cost_readers_nothing() {
    let mut bench = Bench::postgres().await;
    // Whoever waits here, waits for as long as the test takes.
    (bench.config.acquire_timeout, bench.config.statement_timeout) = (PLENTY * 3, PLENTY * 3);
    let repository = Arc::new(bench.another().await);
    stock(&repository).await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut lock = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE products SET name = 'locked' WHERE id = 'written-0'")
        .execute(&mut lock)
        .await
        .unwrap();
    let writers: Vec<_> = (0..STUCK).map(|_| write(&repository, "written-0".to_owned())).collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("as many writers as may", || async { bench.number(waiting).await >= 6 }).await;
    reads_go_on(&repository).await;
    assert!(writers.iter().all(|writer| !writer.is_finished()));
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    for writer in writers {
        writer.await.unwrap().expect("a write, late");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_nobody_waits_for_leaves_no_statement_behind() {
    let mut bench = Bench::postgres().await;
    (bench.config.acquire_timeout, bench.config.statement_timeout) = (PLENTY * 3, PLENTY * 3);
    let repository = Arc::new(bench.another().await);
    stock(&repository).await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut lock = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE products").execute(&mut lock).await.unwrap();
    let loads: Vec<_> = (0..3)
        .map(|_| {
            let repository = Arc::clone(&repository);
            tokio::spawn(async move { repository.get(&["read-0".to_owned()]).await.map(drop) })
        })
        .collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("loads that wait", || async { bench.number(waiting).await == 3 }).await;
    loads.iter().for_each(JoinHandle::abort);
    until("no statement", || async { bench.number(waiting).await == 0 }).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    reads_go_on(&repository).await;
}

/// A server of its own, whose commits wait for a standby that is not there when they are told to.
async fn with_standby_away() -> (Arc<Postgres>, Bench) {
    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    let mut bench = Bench::over(Shell::Postgres(Arc::clone(&server), url.clone()), url).await;
    bench.config.statement_timeout = Duration::from_millis(500);
    bench.config.acquire_timeout = Duration::from_secs(2);
    (server, bench)
}

async fn wait_for_standby(server: &Postgres, name: &str) {
    server.psql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await;
    server.psql("postgres", "SELECT pg_reload_conf()").await;
    until("the new configuration", || async {
        server.psql("postgres", "SHOW synchronous_standby_names").await == name
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_hang_cost_readers_nothing_and_are_told_as_unknown() {
    let (server, bench) = with_standby_away().await;
    let repository = Arc::new(bench.another().await);
    stock(&repository).await;
    wait_for_standby(&server, "away").await;
    let hanging = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    for wave in 0..3 {
        let writers: Vec<_> = (0..STUCK).map(|number| write(&repository, format!("written-{number}"))).collect();
        until("as many commits as may", || async { bench.number(hanging).await >= 6 }).await;
        reads_go_on(&repository).await;
        let mut unknown = 0;
        for writer in writers {
            match timeout(PLENTY, writer).await.expect("a write that ends").unwrap() {
                Err(StorageError::UnknownOutcome(_)) => unknown += 1,
                Err(StorageError::Timeout(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        reads_go_on(&repository).await;
        // Those that the server goes on with keep the places that they had among the writes.
        assert_eq!((unknown, bench.number(hanging).await), (if wave == 0 { 6 } else { 0 }, 6), "wave {wave}");
    }
    wait_for_standby(&server, "").await;
    until("writes again", || async { write(&repository, "written-1".to_owned()).await.unwrap().is_ok() }).await;
    let written = bench.number("SELECT count(*) FROM products WHERE name = 'written'").await;
    assert!(written >= 6, "{written}: what was unknown was committed all the same");
}

/// A repository whose connections lead through a gate.
async fn gated(bench: &mut Bench) -> (Gate, Arc<Repository>) {
    let Shell::Postgres(server, url) = &bench.shell else { unreachable!() };
    let gate = Gate::start(SocketAddr::from(([127, 0, 0, 1], server.port())));
    bench.config.url = url.replace(&server.port().to_string(), &gate.address().port().to_string());
    let repository = Arc::new(bench.another().await);
    (gate, repository)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_a_network_forgot_are_replaced() {
    let mut bench = Bench::postgres().await;
    let (gate, repository) = gated(&mut bench).await;
    stock(&repository).await;
    // As many connections as there may be, and one that the follower has.
    let loads = |repository: &Arc<Repository>| {
        let loads = (0..40).map(|number| {
            let repository = Arc::clone(repository);
            tokio::spawn(async move { repository.get(&[format!("read-{}", number % 20)]).await.map(drop) })
        });
        loads.collect::<Vec<_>>()
    };
    for load in loads(&repository) {
        load.await.unwrap().expect("a load");
    }
    let pass = repository.pass(None, 10).await.expect("a pass");
    assert!(gate.forget_all() >= 3);
    // What is under way when nobody knows yet may fail.
    let mut first = loads(&repository);
    first.push(write(&repository, "written-0".to_owned()));
    let recovered = async {
        repository.pass(Some((&pass.snapshot, pass.incarnation)), 10).await.expect("a pass");
        loop {
            let mut failed = 0;
            for call in loads(&repository).into_iter().chain([write(&repository, "written-1".to_owned())]) {
                failed += usize::from(call.await.unwrap().is_err());
            }
            if failed == 0 {
                break;
            }
        }
    };
    timeout(Duration::from_secs(15), recovered).await.expect("every connection replaced within 15 s");
    for call in first {
        let _ = call.await.unwrap();
    }
}

/// The server is asked, over another connection, what has become of the statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_meets_a_forgotten_connection_is_made_over_another() {
    let mut bench = Bench::postgres().await;
    let (gate, repository) = gated(&mut bench).await;
    stock(&repository).await;
    assert!(gate.forget_all() >= 1);
    let loaded = repository.get(&["read-0".to_owned()]).await.expect("a load");
    assert_eq!(loaded.value.found.len(), 1);
}

/// BEGIN is the first that a write says, and nothing has been done by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_meets_forgotten_connections_is_made_over_another() {
    let mut bench = Bench::postgres().await;
    let (gate, repository) = gated(&mut bench).await;
    stock(&repository).await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut lock = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE products SET name = 'locked' WHERE id = 'written-0'")
        .execute(&mut lock)
        .await
        .unwrap();
    let together: Vec<_> = (0..6).map(|_| write(&repository, "written-0".to_owned())).collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("connections", || async { bench.number(waiting).await == 6 }).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    for write in together {
        write.await.unwrap().expect("a write");
    }
    assert!(gate.forget_all() >= 6);
    let write = timeout(PLENTY, write(&repository, "written-1".to_owned())).await;
    write.expect("a write that ends").unwrap().expect("a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_connection_is_forgotten_in_the_middle_of_it_ends() {
    let mut bench = Bench::postgres().await;
    bench.config.statement_timeout = Duration::from_secs(2);
    let (gate, repository) = gated(&mut bench).await;
    stock(&repository).await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut lock = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE products SET name = 'locked' WHERE id = 'written-0'")
        .execute(&mut lock)
        .await
        .unwrap();
    let first = write(&repository, "written-0".to_owned());
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the write", || async { bench.number(waiting).await == 1 || first.is_finished() }).await;
    gate.forget_all();
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    let first = timeout(PLENTY, first).await.expect("a write that ends").unwrap();
    assert!(matches!(first, Err(StorageError::Timeout(_))), "{first:?}");
    // The server ends the transaction that was left open.
    until("a write", || async { write(&repository, "written-0".to_owned()).await.unwrap().is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_follower_waits_for_no_load_and_needs_no_new_connection() {
    let mut bench = Bench::postgres().await;
    (bench.config.acquire_timeout, bench.config.statement_timeout) = (PLENTY * 3, PLENTY * 3);
    let repository = Arc::new(bench.another().await);
    stock(&repository).await;
    let Shell::Postgres(server, url) = &bench.shell else { unreachable!() };
    let pass = repository.pass(None, 10).await.expect("a pass");
    let mut shell = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").execute(&mut shell).await.unwrap();
    let load = || {
        let repository = Arc::clone(&repository);
        tokio::spawn(async move { repository.get(&["read-0".to_owned()]).await.map(drop) })
    };
    let loads: Vec<_> = (0..STUCK).map(|_| load()).collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("as many loads as may", || async { bench.number(waiting).await >= 10 }).await;
    let database = url.rsplit('/').next().unwrap();
    server.psql("postgres", &format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS false")).await;
    let since = Some((&pass.snapshot, pass.incarnation));
    for _ in 0..3 {
        timeout(PLENTY, repository.pass(since, 10)).await.expect("a pass that does not wait").expect("a pass");
    }
    assert!(loads.iter().all(|load| !load.is_finished()));
    sqlx::raw_sql("ROLLBACK").execute(&mut shell).await.unwrap();
    for load in loads {
        load.await.unwrap().expect("a load, late");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_listener_is_replaced() {
    let mut bench = Bench::postgres().await;
    let (gate, repository) = gated(&mut bench).await;
    let woken = async || {
        while timeout(Duration::ZERO, repository.changed(Duration::from_mins(1))).await.is_ok() {}
        bench.sql("INSERT INTO changes (kind) VALUES ('all')").await;
        timeout(Duration::from_millis(500), repository.changed(Duration::from_mins(1))).await.is_ok()
    };
    until("a notification", &woken).await;
    until("the listener's connection", || async { gate.forget_who_said(b"LISTEN") == 1 }).await;
    // A notification that the connection had carried before may still wake.
    until("silence", || async { !woken().await }).await;
    let replaced = async { while !woken().await {} };
    timeout(Duration::from_secs(30), replaced).await.expect("another connection within 30 s");
}

/// In the writer's own transaction a notification holds a lock of the cluster until the commit has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_commits_are_notified_after_them_and_together() {
    let bench = Bench::postgres().await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let other = bench.another().await;
    let mut listener = PgListener::connect(url).await.unwrap();
    listener.listen("larder_changes").await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..40 {
        let repository = Arc::clone(&bench.repository);
        writers.spawn(async move {
            repository.create(&format!("p{number}"), &full(), &WriteOptions::default()).await.map(drop)
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap().expect("a write");
    }
    timeout(PLENTY, other.changed(PLENTY * 3)).await.expect("another replica is woken");
    // Those of anybody else are in their transactions, of which this one is the last.
    bench.sql("INSERT INTO products (id, name) VALUES ('last', 'x')").await;
    let shell = "SELECT count(*) FROM products WHERE id = 'last'";
    assert_eq!(bench.number(shell).await, 1);
    let mut senders = Vec::new();
    while let Ok(Ok(notification)) = timeout(Duration::from_secs(1), listener.recv()).await {
        senders.push(notification.process_id());
    }
    let last = senders.pop().expect("the notification of the shell");
    senders.dedup();
    assert_eq!(senders.len(), 1, "{senders:?} and {last}: one connection tells of all of them");
}

async fn pooled(settings: &[&str]) -> (PgBouncer, StorageConfig) {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let pooler = PgBouncer::start(&server, settings).await;
    let config = StorageConfig::new(pooler.url(url.rsplit('/').next().unwrap()));
    (pooler, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_that_pools_sessions_is_fine() {
    let (_pooler, config) = pooled(&["pool_mode = session"]).await;
    let repository = Repository::connect(&config).await.expect("a repository behind PgBouncer");
    let other = Repository::connect(&config).await.expect("a second one");
    stock(&repository).await;
    reads_go_on(&repository).await;
    let created = repository.create("a", &ProductData::clone(&full()), &WriteOptions::default()).await;
    assert!(created.unwrap().commit.is_some());
    timeout(PLENTY, other.changed(PLENTY * 3)).await.expect("notifications come through");
    // A statement that takes too long is ended by the server: the session is what it was set to.
    let mut quick = config.clone();
    quick.statement_timeout = Duration::from_millis(50);
    let refused = Repository::connect(&quick).await.expect("a third one");
    let Shell::Postgres(server, _) = Bench::postgres().await.shell else { unreachable!() };
    let database = config.url.rsplit('/').next().unwrap();
    let mut lock = PgConnection::connect(&server.url(database)).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE products").execute(&mut lock).await.unwrap();
    until("a load that is cut", || async {
        matches!(refused.get(&["a".to_owned()]).await, Err(StorageError::Timeout(_)))
    })
    .await;
    lock.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poolers_that_share_sessions_are_refused() {
    let all: [&[&str]; 4] = [
        &["pool_mode = transaction"],
        &["pool_mode = transaction", "server_round_robin = 1", "min_pool_size = 3"],
        &["pool_mode = transaction", "server_reset_query_always = 1", "ignore_startup_parameters = options"],
        &["pool_mode = statement"],
    ];
    for settings in all {
        let (_pooler, config) = pooled(settings).await;
        match Repository::connect(&config).await {
            Err(StorageError::Schema(reason)) => {
                assert!(reason.contains("set pool_mode = session in PgBouncer"), "{settings:?}: {reason}");
            }
            other => panic!("{settings:?}: {other:?}"),
        }
    }
}
