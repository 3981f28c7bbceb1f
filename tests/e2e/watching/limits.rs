//! How much a stream may cost, and how it ends.

use std::{collections::BTreeSet, time::Duration};

use larder_proto::catalog::{Product, ProductEventKind as Kind};
use tonic::Code;

use super::stream::Watching;
use crate::harness::{
    Client, Database, Process, Refusal, Server, connect, eventually, named, on_both_databases, refusal,
};

on_both_databases!(
    who_reads_too_slowly_is_cut_off_and_may_resume,
    there_are_only_so_many_places,
    an_idle_stream_tells_how_far_it_has_come,
    streams_end_when_the_server_does,
);

async fn who_reads_too_slowly_is_cut_off_and_may_resume(database: &Database) {
    const COUNT: usize = 4_000;
    let server = Server::start_with(database, |config| config.server.watch.backlog = 500).await;
    let mut watching = Watching::start(&server).await;
    let text = "More than what the buffers on the way take. ".repeat(100);
    let products = (0..COUNT).map(|n| Product { description: text.clone(), ..named(&format!("p{n}"), "Product") });
    server.import(products).await;
    let (mut ids, mut cuts) = (BTreeSet::new(), 0);
    while ids.len() < COUNT {
        match watching.event().await {
            Ok(event) => {
                assert_eq!(event.kind(), Kind::Put);
                assert!(ids.insert(event.id.clone()), "{} was told twice", event.id);
            }
            Err(status) => {
                assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "WATCH_TOO_SLOW"));
                cuts += 1;
                watching = Watching::open(&server, &watching.token, None).await.expect("a stream");
            }
        }
    }
    assert!(cuts > 0, "the stream took everything");
    server.stop().await;
}

async fn there_are_only_so_many_places(database: &Database) {
    let server = Server::start_with(database, |config| config.server.watch.watchers = 2).await;
    let first = Watching::start(&server).await;
    let _second = Watching::start(&server).await;
    let status = Watching::open(&server, "", None).await.err().expect("no place");
    assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "TOO_MANY_WATCHERS"));
    drop(first);
    eventually("a place", async || Watching::open(&server, "", None).await.is_ok()).await;
    server.stop().await;
}

async fn an_idle_stream_tells_how_far_it_has_come(database: &Database) {
    let server =
        Server::start_with(database, |config| config.server.watch.checkpoint = Duration::from_millis(50)).await;
    let mut watching = Watching::start(&server).await;
    for _ in 0..3 {
        let checkpoint = watching.message().await.expect("a message").expect("a stream that goes on");
        assert_eq!(checkpoint.event, None);
    }
    server.create(named("a", "A")).await;
    let token = watching.token.clone();
    let event = watching.event().await.expect("an event");
    assert_eq!(Watching::open(&server, &token, None).await.expect("a stream").event().await.expect("an event"), event);
    let after = watching.message().await.expect("a message").expect("a stream that goes on").token;
    server.create(named("b", "B")).await;
    let mut resumed = Watching::open(&server, &after, None).await.expect("a stream");
    assert_eq!(resumed.short().await, (Kind::Put, "b".to_owned(), "B".to_owned()));
    server.stop().await;
}

async fn streams_end_when_the_server_does(database: &Database) {
    let mut process = Process::start_with(database, &["--drain-deadline", "10m"]).await;
    let mut watching = Watching::open_by(process.client(), "", None).await.expect("a stream");
    // One that nobody reads, on a connection of its own.
    let other = Client::new(connect(process.address()).await);
    let stuck = Watching::open_by(other, "", None).await.expect("a stream");
    process.signal("TERM").await;
    let status = watching.event().await.expect_err("the end");
    assert_eq!(refusal(&status), Refusal::of(Code::Unavailable, "DRAINING"));
    // Long before the time to drain.
    let ended = process.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", process.log());
    drop(stuck);
    // What it told goes on elsewhere.
    let server = Server::start(database).await;
    server.create(named("a", "A")).await;
    let mut resumed = Watching::open(&server, &watching.token, None).await.expect("a stream");
    assert_eq!(resumed.short().await, (Kind::Put, "a".to_owned(), "A".to_owned()));
    server.stop().await;
}
