//! A write transaction that is held open for a while.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    outsider::Outsider,
    watch::{Question, Row, Rows, Watch},
};
use crate::harness::{Database, Server, named, on_both_databases};

on_both_databases!(an_open_transaction_costs_no_hit_and_hides_no_change);

/// How long it is held: longer than the staleness bound.
const HELD: Duration = Duration::from_millis(1_500);
/// Read all the time, and never written.
const QUIET: [Question; 2] = [Question::Get("quiet-1"), Question::Batch(&["quiet-1", "quiet-2", "quiet-3"])];

async fn an_open_transaction_costs_no_hit_and_hides_no_change(database: &Database) {
    let server = Server::start(database).await;
    let mut rows: Rows = ["held", "busy", "quiet-1", "quiet-2", "quiet-3"]
        .map(|id| (id.to_owned(), Row { name: "First".to_owned(), category: String::new(), tag: String::new() }))
        .into();
    server.import(rows.iter().map(|(id, row)| named(id, &row.name))).await;
    let quiet = Watch { server: &server, questions: &QUIET };
    quiet.warm(&rows).await;
    let warm = server.stats();

    let mut session = Outsider::connect(database).await;
    session.begin().await;
    session.run("UPDATE products SET name = 'Second' WHERE id = 'held'").await;
    let begin = Instant::now();
    let mut writes = 0;
    while begin.elapsed() < HELD {
        // SQLite has one writer, and that one is busy.
        if session.is_postgres() {
            writes += 1;
            let name = format!("Write {writes}");
            server.update(named("busy", &name), &["name"]).await;
            assert_eq!(server.get("busy").await.product.expect("a product").name, name, "its own write");
        }
        assert_eq!(server.get("held").await.product.expect("a product").name, "First", "not committed yet");
        quiet.read(&rows).await;
        sleep(Duration::from_millis(5)).await;
    }
    let stats = server.stats();
    // Each write costs the load of what was written. The product held back was loaded once.
    assert!(stats.loads - warm.loads <= writes + 1, "{writes} writes, before {warm:?}, after {stats:?}");

    let before = rows.clone();
    "Second".clone_into(&mut rows.get_mut("held").expect("a row").name);
    session.run("COMMIT").await;
    let held = Watch { server: &server, questions: &[Question::Get("held"), Question::Batch(&["held", "quiet-1"])] };
    let took = held.until_shown("the commit", &before, &rows, Instant::now()).await;
    println!(
        "{} hits and {} loads beside {writes} writes; the commit was seen after {took:?}",
        stats.hits - warm.hits,
        stats.loads - warm.loads
    );
    server.stop().await;
}
