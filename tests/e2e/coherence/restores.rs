//! A database put back while Redis keeps what replicas of the lost life have stored there, and what stays warm when nothing was lost.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use larder_cache::{Freshness, SharedConfig};
use larder_proto::catalog::{ProductEventKind, ReadOptions, read_options::Consistency};
use larder_test_servers::{Postgres, PostgresOptions, Redis};

use super::watch::{Question, Row, Rows, Watch};
use crate::{
    harness::{Database, Process, Refusal, Server, eventually, named, on_both_databases, refusal},
    watching::Watching,
};

const QUESTIONS: [Question; 6] = [
    Question::Get("a"),
    Question::Get("gone"),
    Question::Get("late"),
    Question::Batch(&["late", "a", "gone"]),
    Question::All(10),
    Question::Search("lost"),
];

/// A prefix of its own in the Redis that tests share.
async fn shared() -> SharedConfig {
    let url = Redis::shared().await.url();
    let prefix = format!("e2e-{:x}", rand::random::<u64>());
    // A busy machine is not a Redis that is away.
    SharedConfig { url, prefix, command_timeout: Duration::from_secs(5), ..SharedConfig::default() }
}

async fn start(database: &Database, shared: &SharedConfig) -> Server {
    let server = Server::start_with(database, |config| config.cache.shared = Some(shared.clone())).await;
    let cache = server.running().catalog().cache();
    eventually("a replica that shares", async || {
        cache.shared_tier_up() == Some(true) && cache.bus_connected() == Some(true)
    })
    .await;
    server.settle().await;
    server
}

fn rows(names: &[(&str, &str)]) -> Rows {
    let row = |name: &str| Row { name: name.to_owned(), category: String::new(), tag: String::new() };
    names.iter().map(|&(id, name)| (id.to_owned(), row(name))).collect()
}

fn kept() -> Rows {
    rows(&[("a", "Kept"), ("gone", "Kept")])
}

fn lost() -> Rows {
    rows(&[("a", "Lost"), ("late", "Lost")])
}

fn at_least(token: &str) -> ReadOptions {
    ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token.to_owned())), ..Default::default() }
}

/// What is to be kept, and the token of the last write of it.
async fn fill(server: &Server) -> String {
    server.create(named("a", "Kept")).await;
    server.create(named("gone", "Kept")).await.token
}

/// What only the lost life has: values, an absence, pages; its tokens and positions.
async fn live_on(server: &Server) -> Vec<String> {
    let watching = Watching::start(server).await;
    let tokens = vec![
        server.update(named("a", "Lost"), &["name"]).await.token,
        server.create(named("late", "Lost")).await.token,
        server.delete("gone").await,
    ];
    let watch = Watch { server, questions: &QUESTIONS };
    server.settle().await;
    // What was loaded is stored in Redis a moment later.
    for _ in 0..2 {
        watch.read(&lost()).await;
        server.running().catalog().cache().clear();
    }
    watch.read(&lost()).await;
    let position = Watching::start(server).await.token;
    drop(watching);
    [tokens, vec![position]].concat()
}

/// Nothing of the lost life is served, neither at once nor when its numbers have been used again, and what was kept is good.
async fn is_of_this_life(server: &Server, of_lost: &[String], of_kept: &str) {
    let (position, tokens) = of_lost.split_last().expect("a position");
    let watch = Watch { server, questions: &QUESTIONS };
    for round in 0..3 {
        watch.read(&kept()).await;
        let consistent = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() };
        let read = server.read("a", Some(consistent)).await.expect("a product");
        assert_eq!(read.product.expect("a product").name, "Kept");
        for token in tokens {
            let status = server.read("a", Some(at_least(token))).await.expect_err("a token of another life");
            // As long as the numbers of this life are lower, it may be of a commit to come.
            let refused = refusal(&status);
            assert!(
                ["TOKEN_LOST", "TOKEN_UNKNOWN"].map(Refusal::token).contains(&refused),
                "round {round}: {refused:?}"
            );
        }
        for token in [position, &tokens[0]] {
            let mut watching = Watching::open(server, token, None).await.expect("a stream");
            assert_eq!(watching.event().await.expect("an event").kind(), ProductEventKind::Resync, "round {round}");
        }
        server.read("a", Some(at_least(of_kept))).await.expect("a token of what was kept");
        server.running().catalog().cache().clear();
        for _ in 0..4 {
            server.create(named("other", "Other")).await;
            server.delete("other").await;
        }
        server.settle().await;
    }
}

#[tokio::test]
async fn a_sqlite_file_put_back_while_nothing_runs() {
    for copied_over in [false, true] {
        let (database, shared) = (Database::sqlite(), shared().await);
        let server = start(&database, &shared).await;
        let of_kept = fill(&server).await;
        let copy = database.file().with_extension("copy");
        database.shell(&format!(".backup '{}'", copy.display())).await;
        let of_lost = live_on(&server).await;
        server.stop().await;
        if copied_over {
            // The same file with other content; whatever SQLite had beside it is gone.
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{suffix}", database.file().display()));
            }
            fs::write(database.file(), fs::read(&copy).expect("the copy")).expect("the file to be written");
        } else {
            database.shell(&format!(".restore '{}'", copy.display())).await;
        }
        let server = start(&database, &shared).await;
        is_of_this_life(&server, &of_lost, &of_kept).await;
        server.stop().await;
    }
}

async fn own_postgres() -> (Arc<Postgres>, Database) {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    (Arc::clone(&postgres), Database::on(postgres).await)
}

#[tokio::test]
async fn a_cold_copy_of_postgres_put_back() {
    for running in [false, true] {
        let ((postgres, database), shared) = (own_postgres().await, shared().await);
        let server = start(&database, &shared).await;
        let of_kept = fill(&server).await;
        let copy = postgres.cold_copy().await;
        eventually("a look at the database that came back", async || {
            server.read("a", Some(at_least(&of_kept))).await.is_ok()
        })
        .await;
        let of_lost = live_on(&server).await;
        let server = if running {
            postgres.restore(copy).await;
            server
        } else {
            server.stop().await;
            postgres.restore(copy).await;
            start(&database, &shared).await
        };
        let consistent = || ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() };
        eventually("a look at the database that came back", async || {
            server.read("a", Some(consistent())).await.is_ok()
        })
        .await;
        is_of_this_life(&server, &of_lost, &of_kept).await;
        server.stop().await;
    }
}

/// The load on the database is that of a warm start: none.
#[tokio::test]
async fn copies_in_l1_outlive_a_clean_restart_of_postgres() {
    let ((postgres, database), shared) = (own_postgres().await, shared().await);
    let server = start(&database, &shared).await;
    let token = fill(&server).await;
    let watch = Watch { server: &server, questions: &[Question::Get("a"), Question::Get("gone")] };
    watch.warm(&kept()).await;
    server.settle().await;
    let cache = server.running().catalog().cache();
    let incarnation = || cache.view().map(|(_, incarnation)| incarnation);
    let loads = server.stats().loads;
    for round in 0..2 {
        let before = incarnation();
        postgres.restart().await;
        eventually("another incarnation", async || incarnation() != before).await;
        eventually("a pass", async || cache.reach(Freshness::FullyConsistent).await.is_ok()).await;
        watch.read(&kept()).await;
        assert_eq!(server.stats().loads, loads, "round {round}");
    }
    server.read("a", Some(at_least(&token))).await.expect("nothing was lost");
    database.shell("UPDATE products SET name = 'Typed' WHERE id = 'a'").await;
    watch.until_shown("a change", &kept(), &rows(&[("a", "Typed"), ("gone", "Kept")]), Instant::now()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_dump_restored_over_the_live_database() {
    let (database, shared) = (Database::postgres().await, shared().await);
    let servers = [start(&database, &shared).await, start(&database, &shared).await];
    let of_kept = fill(&servers[0]).await;
    let dump = database.server().dump(&database.url()).await;
    let of_lost = live_on(&servers[0]).await;
    let watch = Watch { server: &servers[1], questions: &QUESTIONS };
    servers[1].settle().await;
    watch.read(&lost()).await;
    let options = &["--clean", "--if-exists", "--single-transaction"];
    database.server().restore_dump(&dump, &database.url(), options).await;
    for server in &servers {
        let watch = Watch { server, questions: &QUESTIONS };
        watch.until_shown("the dump", &lost(), &kept(), Instant::now()).await;
    }
    for server in servers {
        is_of_this_life(&server, &of_lost, &of_kept).await;
        server.stop().await;
    }
}

on_both_databases!(what_was_not_lost_stays_warm, another_incarnation_by_hand);

/// A rolling restart, and all replicas gone, cleanly or not.
async fn what_was_not_lost_stays_warm(database: &Database) {
    let shared = shared().await;
    let mut server = start(database, &shared).await;
    let token = fill(&server).await;
    let watch = Watch { server: &server, questions: &QUESTIONS };
    server.settle().await;
    // What is loaded is stored in Redis after whoever waits has been answered.
    eventually("copies of everything in Redis", async || {
        server.running().catalog().cache().clear();
        let loads = server.stats().loads;
        watch.read(&kept()).await;
        server.stats().loads == loads
    })
    .await;
    for how in ["one beside it", "stopped", "killed"] {
        if how == "stopped" {
            server.stop().await;
        } else if how == "killed" {
            drop(server);
        }
        server = start(database, &shared).await;
        let began = Instant::now();
        let watch = Watch { server: &server, questions: &QUESTIONS };
        watch.read(&kept()).await;
        let stats = server.stats();
        println!("{how}: {} hits in L2, {} loads, within {:?}", stats.l2_hits, stats.loads, began.elapsed());
        assert!(stats.l2_hits > 0 && stats.loads == 0, "{how}: {} hits, {} loads", stats.l2_hits, stats.loads);
        server.read("a", Some(at_least(&token))).await.expect("a token");
    }
    server.stop().await;
}

async fn another_incarnation_by_hand(database: &Database) {
    let shared = shared().await;
    let server = start(database, &shared).await;
    let token = fill(&server).await;
    let watch = Watch { server: &server, questions: &QUESTIONS };
    watch.warm(&kept()).await;
    let told = Process::command()
        .await
        .args(["database", "new-incarnation", "--database-url", &database.url()])
        .output()
        .await
        .expect("the program to run");
    assert!(told.status.success(), "{told:?}");
    server.settle().await;
    let loads = server.stats().loads;
    watch.read(&kept()).await;
    assert!(server.stats().loads >= loads + 4, "every tier is empty");
    server.read("a", Some(at_least(&token))).await.expect("nothing was lost");
    server.stop().await;
}
