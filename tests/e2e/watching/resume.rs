//! Where a stream begins.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use larder_cache::Incarnation;
use larder_proto::catalog::{ProductEvent, ProductEventKind};
use larder_server::contract::Position;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::sleep;
use tonic::Code;

use super::stream::{Watching, version};
use crate::{
    coherence::Outsider,
    harness::{Database, Refusal, Server, eventually, named, on_both_databases, product, refusal},
};

on_both_databases!(
    every_token_resumes_without_a_gap_or_a_repetition,
    a_stream_starts_after_a_write,
    a_start_that_is_too_old_is_refused,
    a_start_that_says_nothing_here_begins_anew,
);

const WRITERS: u64 = 3;
const TRANSACTIONS: usize = 60;

/// Writers with transactions that overlap and end in another order than they began, where the database lets them.
async fn every_token_resumes_without_a_gap_or_a_repetition(database: &Database) {
    let server = Server::start(database).await;
    let mut watching = Watching::start(&server).await;
    let start = watching.token.clone();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let session = Outsider::connect(database).await;
        writers.push(tokio::spawn(write(session, writer)));
    }
    // The end is written by itself when the writers are done: no event may follow that would be a cue for it.
    let mut last = Outsider::connect(database).await;
    let writing = tokio::spawn(async move {
        for writer in writers {
            writer.await.expect("no panic");
        }
        last.begin().await;
        last.run("INSERT INTO products (id, name) VALUES ('end', 'End')").await;
        last.run("COMMIT").await;
    });
    // The whole, broken off and resumed wherever it happens to be.
    let mut told: Vec<(String, ProductEvent)> = Vec::new();
    loop {
        let event = watching.event().await.expect("an event");
        if event.id == "end" {
            break;
        }
        told.push((watching.token.clone(), event));
        if told.len().is_multiple_of(7) {
            watching = Watching::open(&server, &watching.token, None).await.expect("a stream");
        }
    }
    writing.await.expect("no panic");
    let logged = database.shell(&logged(database)).await;
    let logged: BTreeSet<i64> = logged.lines().map(|line| line.trim().parse().expect("a version")).collect();
    let versions: Vec<i64> = told.iter().map(|(_, event)| version(event)).collect();
    let once: BTreeSet<i64> = versions.iter().copied().collect();
    assert_eq!(once.len(), versions.len(), "told twice");
    assert_eq!(once, logged, "told and logged");
    rising(told.iter().map(|(_, event)| event));

    // And from each of its tokens to the end.
    let tokens = std::iter::once(&start).chain(told.iter().map(|(token, _)| token));
    for (place, token) in tokens.enumerate() {
        let mut watching = Watching::open(&server, token, None).await.expect("a stream");
        let mut rest = Vec::new();
        loop {
            let event = watching.event().await.expect("an event");
            if event.id == "end" {
                break;
            }
            rest.push(event);
        }
        rising(&rest);
        let rest: Vec<i64> = rest.iter().map(version).collect();
        let expected: BTreeSet<i64> = versions[place..].iter().copied().collect();
        assert_eq!(rest.len(), expected.len(), "from token {place}");
        assert_eq!(rest.into_iter().collect::<BTreeSet<_>>(), expected, "from token {place}");
    }
    server.stop().await;
}

/// Events of one product come in the order of their versions, for as long as it lives. One that is created again may have drawn
/// its version while it still waited for the end of the deletion, which is then told as a put of what there is.
fn rising<'a>(events: impl IntoIterator<Item = &'a ProductEvent>) {
    let mut last: BTreeMap<&str, &ProductEvent> = BTreeMap::new();
    for event in events {
        if let Some(before) = last.insert(&event.id, event) {
            let deletion = before.kind() == ProductEventKind::Delete
                || before
                    .product
                    .as_ref()
                    .is_some_and(|product| product.etag == event.etag && product.etag != before.etag);
            let born = deletion && event.kind() == ProductEventKind::Put;
            assert!(born || version(before) < version(event), "{event:?} after {before:?}");
        }
    }
}

async fn write(mut session: Outsider, writer: u64) {
    let mut rng = SmallRng::seed_from_u64(writer);
    for round in 0..TRANSACTIONS {
        session.begin().await;
        // In the order of the ids, so that no two wait for each other.
        for key in 0..4 {
            let id = format!("p{key}");
            match rng.random_range(0..6) {
                0 => session.run(format!("DELETE FROM products WHERE id = '{id}'")).await,
                1 | 2 => {
                    session.run(format!("UPDATE products SET name = 'W{writer} R{round}' WHERE id = '{id}'")).await;
                }
                3 if key % 3 == writer % 3 => {
                    let sql = format!("INSERT INTO products (id, name) VALUES ('{id}', 'New') ON CONFLICT DO NOTHING");
                    session.run(sql).await;
                }
                _ => {}
            }
            let own = format!("INSERT INTO products (id, name) VALUES ('w{writer}-{round}-{key}', 'Own')");
            if rng.random_bool(0.2) {
                session.run(own).await;
                if session.is_postgres() {
                    sleep(Duration::from_millis(rng.random_range(0..20))).await;
                }
            }
        }
        let end = if rng.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" };
        session.run(end).await;
        sleep(Duration::from_millis(rng.random_range(0..10))).await;
    }
}

/// The versions in the change log, without the end.
fn logged(database: &Database) -> String {
    let version = match database {
        Database::Postgres { .. } => "version",
        Database::Sqlite(_) => "id << 24 | (salt & 16777215)",
    };
    format!("SELECT {version} FROM changes WHERE kind IN ('put', 'delete') AND key <> 'end'")
}

async fn a_stream_starts_after_a_write(database: &Database) {
    let server = Server::start(database).await;
    // While a transaction of another database of the same server is older than the migration that made the triggers, a write's token
    // does not say that it saw them: such a stream begins with RESYNC.
    let mut attempts = 0;
    eventually("a write that saw the triggers", async || {
        attempts += 1;
        let token = server.create(product(&format!("first-{attempts}"))).await.token;
        let mut watching = Watching::open(&server, &token, None).await.expect("a stream");
        server.create(product(&format!("second-{attempts}"))).await;
        watching.event().await.expect("an event").kind() != ProductEventKind::Resync
    })
    .await;
    server.create(named("before", "Before")).await;
    let created = server.create(product("a")).await.token;
    server.create(named("b", "B")).await;
    let imported = server.import([named("c", "C"), named("d", "D")]).await.token;
    let deleted = server.delete("a").await;
    server.create(named("end", "End")).await;
    let expected: [(&str, &[&str]); 3] =
        [(&created, &["b", "c", "d", "a", "end"]), (&imported, &["a", "end"]), (&deleted, &["end"])];
    for (token, ids) in expected {
        let mut watching = Watching::open(&server, token, None).await.expect("a stream");
        let mut told = Vec::new();
        while told.last().is_none_or(|last| last != "end") {
            told.push(watching.event().await.expect("an event").id);
        }
        // Transactions of other databases of the same server may be open, and then writes of before are told again.
        let exact = matches!(database, Database::Sqlite(_));
        assert!(
            told.ends_with(&ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>()[..])
                && (!exact || told.len() == ids.len()),
            "{told:?} for {ids:?}"
        );
    }
    server.stop().await;
}

async fn a_start_that_is_too_old_is_refused(database: &Database) {
    let server = Server::start_with(database, |config| config.server.change_retention = Duration::from_secs(1)).await;
    let mut watching = Watching::start(&server).await;
    let start = watching.token.clone();
    let written = server.create(named("a", "A")).await.token;
    watching.event().await.expect("an event");
    let mut refused = Vec::new();
    eventually("refusals", async || {
        server.update(named("a", "Again"), &["name"]).await;
        refused.clear();
        for token in [&start, &written] {
            refused.extend(Watching::open(&server, token, None).await.err());
        }
        refused.len() == 2
    })
    .await;
    for status in refused {
        assert_eq!(refusal(&status), Refusal::of(Code::OutOfRange, "START_TOO_OLD"));
    }
    // Who kept up is not concerned.
    watching.event().await.expect("an event");
    server.stop().await;
}

async fn a_start_that_says_nothing_here_begins_anew(database: &Database) {
    let another = Database::sqlite();
    let (server, other) = (Server::start(database).await, Server::start(&another).await);
    let foreign = [other.create(product("a")).await.token, Watching::start(&other).await.token];
    for (token, id) in foreign.into_iter().zip(["after-write", "after-watch"]) {
        begins_anew(&server, &token, id).await;
    }
    let here = Watching::start(&server).await.token;
    let known = Position::decode(&here).expect("a position");
    let mut future = known.clone();
    future.told.xmax += 1_000;
    let lost = Position { incarnation: Incarnation(!known.incarnation.0), ..known.clone() };
    begins_anew(&server, &lost.encode(), "after-lost").await;
    if known.told.salt.is_some() {
        // Such a state may have been that of a life that a copy has replaced.
        begins_anew(&server, &future.encode(), "after-future").await;
        let mut other = known.clone();
        other.told.salt = other.told.salt.map(|salt| salt ^ 1);
        begins_anew(&server, &other.encode(), "after-other").await;
        future.told.in_progress = vec![u64::MAX];
    }
    for (token, expected) in [
        (future.encode(), Refusal::invalid(&["start_token"])),
        ("x".to_owned(), Refusal::invalid(&["start_token"])),
        (here[1..].to_owned(), Refusal::invalid(&["start_token"])),
    ] {
        let status = Watching::open(&server, &token, None).await.err().expect("a refusal");
        assert_eq!(refusal(&status), expected, "{token}");
    }
    // Nothing of that made the server believe in another database.
    Watching::open(&server, &here, None).await.expect("its own");
    server.stop().await;
    other.stop().await;
}

/// A stream that starts at a state of another life tells first that everything is to be read again, and then what happens.
async fn begins_anew(server: &Server, token: &str, id: &str) {
    let mut watching = Watching::open(server, token, None).await.expect("a stream");
    assert_eq!(watching.event().await.expect("an event").kind(), ProductEventKind::Resync);
    server.create(product(id)).await;
    assert_eq!(watching.short().await.1, id);
}
