//! What is read back of the change log when anything may have changed, and in which order changes are told.

use std::sync::Arc;

use larder_storage::{Change, Changes, Incarnation, ProductRepository, Subject, WriteOptions};
use sqlx::{Connection, PgConnection};

use crate::{
    basics::full,
    bench::{Bench, Follower, Shell, named, tell, tell_all},
    log::prune_all,
};

async fn first_pass(bench: &Bench, limit: u32) -> (Follower, u64, Vec<Change>) {
    let mut follower = bench.follow().await;
    // Nobody knows this life, so that the pass is like a first one.
    follower.incarnation = Incarnation(follower.incarnation.0 ^ 1);
    let (from, changes) = follower.window(limit).await;
    let pass = bench.repository.pass(None, limit).await.unwrap();
    assert_eq!(pass.changes, Changes::Window { from, changes: changes.clone() }, "a first pass is told the same");
    assert!(from <= follower.snapshot.xmax, "{from} {:?}", follower.snapshot);
    for change in &changes {
        assert!(change.id >= from && follower.snapshot.sees(change.id), "{from} {change:?} {:?}", follower.snapshot);
    }
    (follower, from, changes)
}

/// What a new database has in its log: SQLite a last row for followers to recognise.
fn with_the_first_row<'a>(bench: &Bench, told: &[&'a str]) -> Vec<&'a str> {
    let mut all = told.to_vec();
    if !bench.is_postgres() {
        all.insert(0, "all");
    }
    all
}

pub(crate) async fn a_first_pass_and_another_incarnation_read_the_log_back(bench: Bench) {
    // PostgreSQL's begins where its tables were made.
    let (_, begin, changes) = first_pass(&bench, 100).await;
    assert_eq!(tell_all(&changes), with_the_first_row(&bench, &[]));
    bench.create("a", &full()).await;
    bench.sql("INSERT INTO changes (kind, key) VALUES ('tag', 'summer')").await;
    bench.repository.delete("a", None).await.unwrap();
    let (mut follower, from, changes) = first_pass(&bench, 100).await;
    assert_eq!(from, begin, "the log is whole");
    assert_eq!(tell_all(&changes), with_the_first_row(&bench, &["delete a", "put a", "tag summer"]));
    // What was read back is not told again.
    bench.create("b", &full()).await;
    assert_eq!(follower.told().await, ["put b"]);
}

pub(crate) async fn more_than_the_limit_is_a_window(bench: Bench) {
    let mut follower = bench.follow().await;
    let mut ids = Vec::new();
    for round in 0..5 {
        let created = bench.repository.create(&format!("p{round}"), &full(), &WriteOptions::default()).await.unwrap();
        ids.push(created.commit.unwrap().id);
    }
    let (snapshot, incarnation) = (follower.snapshot.clone(), follower.incarnation);
    let (from, changes) = follower.window(4).await;
    assert_eq!(tell_all(&changes), ["put p1", "put p2", "put p3", "put p4"]);
    assert_eq!(from, ids[0] + 1, "just above the first that was left out");
    assert_eq!(follower.told().await, [""; 0]);
    let pass = bench.repository.pass(Some((&snapshot, incarnation)), 5).await.unwrap();
    assert!(matches!(pass.changes, Changes::Complete(changes) if changes.len() == 5));
    let pass = bench.repository.pass(Some((&snapshot, incarnation)), 0).await.unwrap();
    assert_eq!(pass.changes, Changes::Window { from: ids[4] + 1, changes: Vec::new() });
}

pub(crate) async fn a_window_cuts_no_transaction_in_two(bench: Bench) {
    let single = bench.repository.create("first", &full(), &WriteOptions::default()).await.unwrap().commit.unwrap().id;
    let input: Vec<_> = (0..6).map(|number| (format!("m{number}"), named("m"))).collect();
    let many = bench.repository.import(&input).await.unwrap();
    bench.create("last", &full()).await;
    let at_most = |limit| first_pass(&bench, limit);
    let (_, from, changes) = at_most(7).await;
    assert_eq!((from, changes.len()), (single + 1, 7));
    let (_, from, changes) = at_most(4).await;
    if bench.is_postgres() {
        assert_eq!(from, many.commit.unwrap().id + 1);
        assert_eq!(tell_all(&changes), ["put last"], "half of the import was read, and none of it stays");
    } else {
        // Each change has a number of its own there, so that every number is a place to begin.
        assert_eq!(from, many.changes[3].id);
        assert_eq!(tell_all(&changes), ["put last", "put m3", "put m4", "put m5"]);
    }
    let (follower, from, changes) = at_most(0).await;
    assert!(changes.is_empty() && from <= follower.snapshot.xmax && from > many.commit.unwrap().id);
}

pub(crate) async fn a_window_does_not_reach_below_what_was_pruned(bench: Bench) {
    let mut sleeper = bench.follow().await;
    for round in 0..5 {
        bench.create(&format!("p{round}"), &full()).await;
    }
    prune_all(&bench, if bench.is_postgres() { 4 } else { 5 }).await;
    let below: u64 = bench.number("SELECT below FROM changes_pruned").await.try_into().unwrap();
    assert!(below > 0);
    let young = bench.repository.create("young", &full(), &WriteOptions::default()).await.unwrap().changes;
    let (from, changes) = sleeper.window(100).await;
    assert_eq!((from, &changes), (below, &young), "a replica that slept through the retention");
    let (_, from, changes) = first_pass(&bench, 100).await;
    assert_eq!((from, &changes), (below, &young), "a new replica");
}

pub(crate) async fn versions_of_one_key_rise(bench: Bench) {
    let mut follower = bench.follow().await;
    bench
        .sql(
            "BEGIN; INSERT INTO products (id, name) VALUES ('a', '1'); INSERT INTO products (id, name) VALUES ('b', '1'); \
             UPDATE products SET name = '2' WHERE id = 'a'; INSERT INTO changes (kind, key) VALUES ('key', 'a'); \
             DELETE FROM products WHERE id = 'a'; INSERT INTO products (id, name) VALUES ('a', '3'); \
             UPDATE products SET name = '4'; COMMIT;",
        )
        .await;
    let (version, expected) =
        (bench.get("a").await.unwrap().version, ["key a", "put a", "put a", "delete a", "put a", "put a"]);
    for changes in [follower.changes().await, first_pass(&bench, 100).await.2] {
        assert_rising(&changes, "a", &expected, version);
    }
}

/// Checks what is told of one key, in which order, and that the last is the version that there is.
fn assert_rising(changes: &[Change], wanted: &str, expected: &[&str], version: i64) {
    let mut told = Vec::new();
    let mut versions = Vec::new();
    for change in changes {
        match &change.subject {
            Subject::Put { key, version, .. } | Subject::Delete { key, version, .. } if key == wanted => {
                versions.push(*version);
            }
            Subject::Key(key) if key == wanted => {}
            _ => continue,
        }
        told.push(tell(&change.subject));
    }
    assert_eq!(told, expected);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(versions.last(), Some(&version));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_rise_where_ids_of_transactions_fall() {
    let bench = Bench::postgres().await;
    let mut follower = bench.follow().await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut early = PgConnection::connect(url).await.unwrap();
    // It has the lower id, and writes last.
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut early).await.unwrap();
    bench.create("a", &named("first")).await;
    sqlx::raw_sql("UPDATE products SET name = 'second'; COMMIT").execute(&mut early).await.unwrap();
    bench.sql("UPDATE products SET name = 'third'").await;
    let version = bench.get("a").await.unwrap().version;
    let complete = follower.changes().await;
    assert!(complete[0].id > complete[1].id, "{complete:?}");
    for changes in [complete, first_pass(&bench, 100).await.2] {
        assert_rising(&changes, "a", &["put a", "put a", "put a"], version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_in_progress_is_told_after_the_window() {
    let bench = Bench::postgres().await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut slow = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; INSERT INTO products (id, name) VALUES ('slow', 'x')").execute(&mut slow).await.unwrap();
    let id: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut slow).await.unwrap();
    let id: u64 = id.parse().unwrap();
    bench.create("fast", &full()).await;
    bench.create("faster", &full()).await;
    // One follower whose window reaches below the one in progress, and one whose window does not.
    let (mut wide, from, changes) = first_pass(&bench, 100).await;
    assert_eq!(tell_all(&changes), ["put fast", "put faster"]);
    assert!(from < id && !wide.snapshot.sees(id));
    let (mut narrow, from, changes) = first_pass(&bench, 1).await;
    assert!(from > id);
    assert_eq!(tell_all(&changes), ["put faster"]);
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    assert_eq!(wide.told().await, ["put slow"]);
    assert_eq!(narrow.told().await, ["put slow"]);
}

/// A follower that begins with a window, whenever it begins, and goes on with passes knows everything from the window on.
pub(crate) async fn a_window_and_the_passes_after_it_miss_nothing(bench: Bench) {
    let writers: Vec<_> = (0..3_u32)
        .map(|writer| {
            let repository = Arc::clone(&bench.repository);
            tokio::spawn(async move {
                let mut written = Vec::new();
                for step in 0..60 {
                    let products: Vec<_> =
                        (0..3).map(|number| (format!("{writer}-{number}"), named(&format!("{step}")))).collect();
                    written.extend(repository.import(&products).await.unwrap().changes);
                }
                written
            })
        })
        .collect();
    let mut begun = Vec::new();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        for limit in [0, 5, 50, 10_000] {
            let pass = bench.repository.pass(None, limit).await.unwrap();
            let Changes::Window { from, changes } = pass.changes else { panic!("{pass:?}") };
            begun.push((from, changes, pass.snapshot, pass.incarnation));
        }
    }
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    let sorted = |changes: &[&Change]| {
        let mut all: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
        all.sort_unstable();
        all
    };
    println!("{} windows over {} changes", begun.len(), written.len());
    for (from, changes, snapshot, incarnation) in begun {
        let pass = bench.repository.pass(Some((&snapshot, incarnation)), 10_000).await.unwrap();
        let Changes::Complete(rest) = pass.changes else { panic!("{pass:?}") };
        let known: Vec<&Change> = changes.iter().chain(&rest).filter(|change| change.subject != Subject::All).collect();
        let expected: Vec<&Change> =
            written.iter().filter(|change| change.id >= from || !snapshot.sees(change.id)).collect();
        assert_eq!(sorted(&known), sorted(&expected), "from {from}, {snapshot:?}");
    }
}

/// Asks each database for the plan of a statement like that of a first pass: it must not read a log of hours to tell its end.
pub(crate) async fn an_index_serves_the_window(bench: Bench) {
    let numbers = if bench.is_postgres() {
        "generate_series(1, 20000) n"
    } else {
        "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT n FROM s)"
    };
    bench.sql(&format!("INSERT INTO changes (kind, key) SELECT 'key', 'k' || n FROM {numbers}; ANALYZE")).await;
    let (explain, id, index) = if bench.is_postgres() {
        ("EXPLAIN", "xid", "Index Scan Backward using changes_by_xid")
    } else {
        ("EXPLAIN QUERY PLAN", "id", "SEARCH changes USING INTEGER PRIMARY KEY")
    };
    let plan = bench
        .sql(&format!(
            "{explain} SELECT * FROM changes WHERE {id} >= (SELECT below FROM changes_pruned) ORDER BY {id} DESC LIMIT 101"
        ))
        .await;
    assert!(plan.contains(index) && !plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}
