//! What is taken from the queue, and when.

use std::{sync::Arc, time::Duration};

use larder_cache::SharedConfig;
use larder_proto::catalog::CacheTier;
use larder_server::config::Config;
use larder_test_servers::{Postgres, PostgresOptions};
use tokio::time::timeout;

use super::{
    logged,
    sender::changed,
    stream::{STREAM, Stream},
    tier, warm,
};
use crate::harness::{Database, eventually, on_both_databases, product};

on_both_databases!(
    an_event_drops_the_copy_on_every_replica,
    events_sent_while_nobody_runs_are_taken_up_later,
    what_cannot_be_understood_is_put_aside_and_holds_up_nothing,
    what_the_database_refuses_is_tried_again_and_put_aside,
);

/// Far below the time to drain that is set with it, and enough for a busy machine.
const LONG: Duration = Duration::from_mins(1);

async fn an_event_drops_the_copy_on_every_replica(database: &Database) {
    let stream = Stream::start().await;
    // Nothing is taken over that is only slow.
    let patient = |config: &mut Config| {
        config.events.queue.min_idle = Duration::from_mins(10);
        config.server.deadlines.drain = LONG * 2;
    };
    let replicas = [stream.replica_with(database, patient).await, stream.replica_with(database, patient).await];
    for id in ["a", "b"] {
        replicas[0].create(product(id)).await;
    }
    for server in &replicas {
        for id in ["a", "b"] {
            warm(server, id).await;
        }
    }
    stream.send(&changed(&["a"])).await;
    stream.done().await;
    for server in &replicas {
        server.settle().await;
        let read = tier(server, "a").await;
        assert!(matches!(read, CacheTier::Database | CacheTier::L2), "read anew: {read:?}");
        assert_eq!(tier(server, "b").await, CacheTier::L1);
    }
    assert_eq!(logged(database).await, ["product:a"], "one of them took it");
    for server in replicas {
        timeout(LONG, server.stop()).await.expect("an end that waits for no event");
    }
}

async fn events_sent_while_nobody_runs_are_taken_up_later(database: &Database) {
    let stream = Stream::start().await;
    stream.send(&changed(&["before-the-group"])).await;
    let server = stream.replica(database).await;
    stream.done().await;
    server.stop().await;
    stream.send(&changed(&["while-nobody-runs"])).await;
    let server = stream.replica(database).await;
    stream.done().await;
    assert_eq!(logged(database).await, ["product:before-the-group", "product:while-nobody-runs"]);
    server.stop().await;
}

async fn what_cannot_be_understood_is_put_aside_and_holds_up_nothing(database: &Database) {
    let stream = Stream::start().await;
    stream.send(&changed(&["a"])).await;
    let no_json = stream.send("{\"type\":").await;
    let no_id = stream.send(&changed(&["b", "c d"])).await;
    let no_event = stream.0.cli(&["XADD", STREAM, "*", "body", "x", "trace", "t1"]).await;
    stream.send(&changed(&["e"])).await;
    let server = stream.replica(database).await;
    stream.done().await;
    assert_eq!(logged(database).await, ["product:a", "product:e"], "nothing of an event that is wrong in part");
    let dead = stream.dead().await;
    let rule = "data.ids[1]: must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -";
    assert_eq!(dead[0][..3], ["entry", no_json.as_str(), "reason"]);
    assert!(dead[0][3].starts_with("event: must be a JSON object"), "{dead:?}");
    assert_eq!(dead[0][4..], ["event", "{\"type\":"]);
    assert_eq!(dead[1], ["entry", &no_id, "reason", rule, "event", &changed(&["b", "c d"])]);
    let reason = "the entry has no field event";
    assert_eq!(dead[2], ["entry", &no_event, "reason", reason, "body", "x", "trace", "t1"]);
    assert_eq!(dead.len(), 3);
    server.stop().await;
}

/// A rule of the database that Larder knows nothing of.
async fn what_the_database_refuses_is_tried_again_and_put_aside(database: &Database) {
    let stream = Stream::start().await;
    let server = stream.replica_with(database, |config| config.events.queue.max_deliveries = 3).await;
    database
        .shell(match database {
            Database::Postgres { .. } => "ALTER TABLE changes ADD CONSTRAINT rule CHECK (key NOT LIKE '%cursed%')",
            Database::Sqlite(_) => {
                "CREATE TRIGGER rule BEFORE INSERT ON changes WHEN NEW.key LIKE '%cursed%' \
             BEGIN SELECT RAISE(ABORT, 'cursed'); END"
            }
        })
        .await;
    // In one transaction, if one replica reads them at once.
    stream
        .0
        .cli(&[
            "EVAL",
            "for _, event in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'event', event) end",
            "1",
            STREAM,
            &changed(&["a"]),
            &changed(&["cursed"]),
            &changed(&["b"]),
        ])
        .await;
    stream.done().await;
    assert_eq!(logged(database).await, ["product:a", "product:b"], "the others are not kept from their effect");
    let dead = stream.dead().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0][3], "the database refuses it, after 4 deliveries");
    assert_eq!(dead[0][4..], ["event", &changed(&["cursed"])]);
    server.stop().await;
}

#[tokio::test]
async fn many_events_are_few_transactions() {
    const EVENTS: usize = 1_000;
    let stream = Stream::start().await;
    let database = Database::postgres().await;
    let add = "for n = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'event', \
               '{\"type\":\"product.changed\",\"data\":{\"ids\":[\"p' .. n .. '\"]}}') end";
    stream.0.cli(&["EVAL", add, "1", STREAM, &EVENTS.to_string()]).await;
    let server = stream.replica(&database).await;
    stream.done().await;
    assert_eq!(logged(&database).await.len(), EVENTS);
    let transactions = database.shell("SELECT count(DISTINCT xid) FROM changes WHERE kind = 'key'").await;
    assert_eq!(transactions, (EVENTS / 100).to_string());
    // Events of 600 keys each do not fit into one in pairs.
    let ids: Vec<_> = (0..600).map(|number| format!("q{number}")).collect();
    let event = changed(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..3 {
        stream.send(&event).await;
    }
    stream.done().await;
    assert_eq!(logged(&database).await.len(), EVENTS + 1_800);
    server.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_events_wait() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let stream = Stream::start().await;
    // Two, so that what one has in hand is taken over by the other.
    let limit = |config: &mut Config| config.events.queue.max_deliveries = 2;
    let replicas = [stream.replica_with(&database, limit).await, stream.replica_with(&database, limit).await];
    let killed = Arc::clone(&postgres);
    tokio::task::spawn_blocking(move || killed.kill()).await.expect("PostgreSQL to be killed");
    stream.send(&changed(&["a"])).await;
    stream.0.cli(&["XADD", STREAM, "*", "event", "poison"]).await;
    eventually("what cannot be understood to be put aside: that needs no database", async || {
        stream.dead().await.len() == 1 && stream.pending().await == 1
    })
    .await;
    // The one that took the other over does not acknowledge it either.
    eventually("as many deliveries as the limit", async || stream.deliveries().await >= 2).await;
    assert_eq!(stream.pending().await, 1, "it is not acknowledged");
    postgres.restart().await;
    stream.done().await;
    assert!(logged(&database).await.iter().all(|key| key == "product:a"));
    assert!(!logged(&database).await.is_empty());
    assert_eq!(stream.dead().await.len(), 1, "nor was it given up");
    for server in replicas {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_waits_for_its_database_ends_all_the_same() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let stream = Stream::start().await;
    let server = stream.replica_with(&database, |config| config.server.deadlines.drain = LONG * 2).await;
    let killed = Arc::clone(&postgres);
    tokio::task::spawn_blocking(move || killed.kill()).await.expect("PostgreSQL to be killed");
    stream.send(&changed(&["a"])).await;
    eventually("the event to be in hand", async || stream.pending().await == 1).await;
    timeout(LONG, server.stop()).await.expect("an end before that of the time to drain");
    assert_eq!(stream.pending().await, 1);
}

#[tokio::test]
async fn a_redis_that_is_away_and_comes_back_empty_is_read_again() {
    let stream = Stream::start().await;
    let database = Database::sqlite();
    let server = stream.replica(&database).await;
    stream.send(&changed(&["a"])).await;
    stream.done().await;
    stream.0.restart().await;
    stream.send(&changed(&["b"])).await;
    stream.done().await;
    // The group alone is gone, as when somebody deletes the stream.
    stream.0.cli(&["DEL", STREAM]).await;
    stream.send(&changed(&["c"])).await;
    stream.done().await;
    assert_eq!(logged(&database).await, ["product:a", "product:b", "product:c"]);
    server.stop().await;
}

#[tokio::test]
async fn what_consumers_left_that_are_gone_is_taken_over_and_they_are_forgotten() {
    let stream = Stream::start().await;
    let database = Database::sqlite();
    stream.0.cli(&["XGROUP", "CREATE", STREAM, "larder", "0", "MKSTREAM"]).await;
    stream.send(&changed(&["a"])).await;
    stream.0.cli(&["XREADGROUP", "GROUP", "larder", "gone", "STREAMS", STREAM, ">"]).await;
    assert_eq!(stream.consumers().await, [("gone".to_owned(), "1".to_owned())]);
    let server = stream.replica(&database).await;
    stream.done().await;
    assert_eq!(logged(&database).await, ["product:a"]);
    // 120 times the idle time.
    eventually("the other one to be forgotten", async || stream.consumers().await.len() == 1).await;
    assert_ne!(stream.consumers().await[0].0, "gone");
    server.stop().await;
}

#[tokio::test]
async fn what_was_trimmed_away_holds_up_nothing() {
    let stream = Stream::start().await;
    let database = Database::sqlite();
    stream.0.cli(&["XGROUP", "CREATE", STREAM, "larder", "0", "MKSTREAM"]).await;
    stream.send(&changed(&["a"])).await;
    stream.0.cli(&["XREADGROUP", "GROUP", "larder", "gone", "STREAMS", STREAM, ">"]).await;
    stream.0.cli(&["XTRIM", STREAM, "MAXLEN", "0"]).await;
    stream.send(&changed(&["b"])).await;
    let server = stream.replica(&database).await;
    stream.done().await;
    assert_eq!(logged(&database).await, ["product:b"]);
    server.stop().await;
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_reads_all_the_same() {
    let stream = Stream::start().await;
    let database = Database::sqlite();
    stream.0.cli(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-eval"]).await;
    let url = stream.0.url().replace("redis://", "redis://reader:pw@");
    let server = stream
        .replica_with(&database, |config| {
            config.cache.shared = Some(SharedConfig { url, ..SharedConfig::default() });
        })
        .await;
    stream.send(&changed(&["a"])).await;
    stream.done().await;
    assert_eq!(logged(&database).await, ["product:a"]);
    server.stop().await;
}
