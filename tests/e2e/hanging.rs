//! A database that hangs in part: what does not hang goes on, fresh.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use larder_proto::catalog::{ListProductsRequest, UpdateProductRequest};
use larder_test_servers::{Gate, Postgres, PostgresOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::harness::{Database, Refusal, Server, eventually, named, product, refusal};

const WRITERS: usize = 12;

/// Products, of which some are cached.
async fn stocked(server: &Server) {
    server.import((0..40).map(|number| product(&format!("p{number}")))).await;
    server.settle().await;
    server.get("p0").await;
}

fn write(server: &Server, id: &str) -> JoinHandle<Result<(), Status>> {
    let mut client = server.client();
    let request = UpdateProductRequest { product: Some(named(id, "Written")), ..Default::default() };
    tokio::spawn(async move { client.update_product(request).await.map(drop) })
}

/// Reads what is cached and what is not, with a look at the change log before each.
async fn reads_are_fresh(server: &Server, uncached: std::ops::Range<usize>) {
    for number in uncached {
        server.settle().await;
        for id in ["p0".to_owned(), format!("p{number}")] {
            let cache = server.get(&id).await.cache.expect("what is known of the copy");
            assert!(!cache.stale, "{id}: {cache:?}");
        }
    }
}

#[tokio::test]
async fn a_locked_row_costs_readers_of_others_nothing() {
    let database = Database::postgres().await;
    let server = Server::start(&database).await;
    stocked(&server).await;
    let mut lock = PgConnection::connect(&database.url()).await.expect("a connection");
    lock.execute("BEGIN; UPDATE products SET name = 'Locked' WHERE id = 'p39'").await.expect("a lock");
    let writers: Vec<_> = (0..WRITERS).map(|_| write(&server, "p39")).collect();
    eventually("writers that wait for the lock", async || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        database.shell(waiting).await.parse::<u32>().expect("a number") >= 6
    })
    .await;
    reads_are_fresh(&server, 1..21).await;
    lock.execute("ROLLBACK").await.expect("the end of the lock");
    for writer in writers {
        let _ = writer.await.expect("no panic");
    }
    reads_are_fresh(&server, 21..39).await;
    server.stop().await;
}

#[tokio::test]
async fn commits_that_wait_for_a_standby_cost_readers_nothing() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let server = Server::start_with(&database, |config| {
        config.storage.statement_timeout = Duration::from_secs(1);
        config.storage.acquire_timeout = Duration::from_secs(1);
    })
    .await;
    stocked(&server).await;
    let standby = async |name: &str| {
        postgres.psql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await;
        postgres.psql("postgres", "SELECT pg_reload_conf()").await;
        eventually("the configuration", async || {
            postgres.psql("postgres", "SHOW synchronous_standby_names").await == name
        })
        .await;
    };
    standby("away").await;
    let writers: Vec<_> = (0..WRITERS).map(|number| write(&server, &format!("p{}", 20 + number))).collect();
    eventually("commits that wait", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        database.shell(waiting).await.parse::<u32>().expect("a number") >= 6
    })
    .await;
    reads_are_fresh(&server, 1..20).await;
    let mut unknown = 0;
    for writer in writers {
        let refused = refusal(&writer.await.expect("no panic").expect_err("a commit that hangs"));
        if refused == Refusal::of(Code::Unknown, "OUTCOME_UNKNOWN") {
            unknown += 1;
        } else {
            assert_eq!(refused, Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE"));
        }
    }
    assert_eq!(unknown, 6, "as many as may write at once");
    standby("").await;
    eventually("writes", async || write(&server, "p39").await.expect("no panic").is_ok()).await;
    reads_are_fresh(&server, 32..39).await;
    server.stop().await;
}

/// As a name in the DNS may lead there after a failover, or a proxy.
#[tokio::test]
async fn a_lagging_standby_shows_nothing_that_is_known_to_be_overwritten() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let address = |server: &Postgres| SocketAddr::from(([127, 0, 0, 1], server.port()));
    let gate = Gate::start(address(&postgres));
    let server = Server::start_with(&database, |config| {
        config.storage.url = database.url().replace(&postgres.port().to_string(), &gate.address().port().to_string());
        config.storage.acquire_timeout = Duration::from_secs(1);
        config.cache.max_stale = Duration::from_secs(5);
    })
    .await;
    server.import(["a", "b", "c", "d"].map(product)).await;
    let standby = postgres.start_standby().await;
    standby.psql("postgres", "SELECT pg_wal_replay_pause()").await;
    // One is written here, one elsewhere, one is gone.
    server.update(named("a", "After"), &["name"]).await;
    database.shell("UPDATE products SET name = 'After' WHERE id = 'b'; DELETE FROM products WHERE id = 'c'").await;
    server.settle().await;

    gate.lead_to(address(&standby));
    gate.cut_all();
    let mut shown = None;
    eventually("a reply from the standby", async || {
        shown = server.read("d", None).await.ok();
        shown.is_some()
    })
    .await;
    assert!(shown.and_then(|shown| shown.cache).is_some_and(|cache| cache.stale), "marked stale");
    let away = Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE");
    for id in ["a", "b", "c"] {
        let refused = server.read(id, None).await.expect_err("it is known to be overwritten");
        assert_eq!(refusal(&refused), away, "{id}");
    }
    let list = server.client().list_products(ListProductsRequest::default()).await.map(|_| ());
    assert_eq!(refusal(&list.expect_err("it shows what is gone")), away);
    eventually("the end of what may be stale", async || server.read("d", None).await.is_err()).await;

    gate.lead_to(address(&postgres));
    gate.cut_all();
    eventually("fresh replies", async || {
        server.read("d", None).await.is_ok_and(|shown| shown.cache.is_some_and(|cache| !cache.stale))
    })
    .await;
    assert_eq!(server.get("a").await.product.expect("a product").name, "After");
    server.stop().await;
}

#[tokio::test]
async fn another_process_that_writes_to_the_file_costs_readers_nothing() {
    let database = Database::sqlite();
    let server =
        Server::start_with(&database, |config| config.storage.statement_timeout = Duration::from_secs(2)).await;
    stocked(&server).await;
    let mut lock = SqliteConnection::connect(&database.url()).await.expect("a connection");
    lock.execute("BEGIN IMMEDIATE; UPDATE products SET name = 'Locked' WHERE id = 'p39'")
        .await
        .expect("the write lock");
    let writers: Vec<_> = (0..WRITERS).map(|_| write(&server, "p38")).collect();
    reads_are_fresh(&server, 1..38).await;
    lock.execute("COMMIT").await.expect("the end of the lock");
    for writer in writers {
        let _ = writer.await.expect("no panic");
    }
    reads_are_fresh(&server, 38..39).await;
    server.stop().await;
}
