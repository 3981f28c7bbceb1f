//! kill -9 of the consumer: no event is lost.

use std::time::Duration;

use larder_test_servers::Proxy;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::{sleep, timeout};

use super::{
    logged,
    sender::changed,
    stream::{STREAM, Stream},
};
use crate::harness::{Database, Process, on_both_databases};

on_both_databases!(kills_at_any_time_lose_no_event);

/// Kills at any time, and events sent meanwhile.
const ROUNDS: usize = 20;
const EVENTS: usize = 20;

async fn start(database: &Database, redis: &str) -> Process {
    let flags = ["--redis-url", redis, "--queue-stream", STREAM, "--queue-min-idle", "100ms"];
    Process::start_with(database, &flags).await
}

#[tokio::test]
async fn a_hundred_kills_between_effect_and_acknowledgement_lose_no_event() {
    let database = &Database::postgres().await;
    let stream = Stream::start().await;
    let proxy = Proxy::start(stream.0.address());
    let mut consumer = start(database, &proxy.url()).await;
    let mut sent = Vec::new();
    for round in 0..100 {
        // What the one before left.
        stream.done().await;
        let acknowledgement = proxy.catch("XACK");
        stream.send(&changed(&[&format!("p{round:03}")])).await;
        sent.push(format!("product:p{round:03}"));
        let caught = timeout(Duration::from_mins(1), acknowledgement.caught()).await;
        assert!(caught.expect("an acknowledgement"), "the proxy has ended");
        consumer.kill().await;
        assert_eq!(stream.pending().await, 1, "it was not acknowledged");
        let logged = logged(database).await;
        assert_eq!(logged.last(), sent.last(), "it had its effect");
        consumer = start(database, &proxy.url()).await;
    }
    stream.done().await;
    let mut seen = logged(database).await;
    // More often when an acknowledgement was late.
    assert!(seen.len() >= 200, "once before each kill, once after it: {}", seen.len());
    seen.dedup();
    assert_eq!(seen, sent);
    assert!(stream.dead().await.is_empty());
    consumer.stop().await;
}

async fn kills_at_any_time_lose_no_event(database: &Database) {
    #[expect(clippy::disallowed_methods, reason = "the seed, which is printed")]
    let seed: u64 =
        std::env::var("LARDER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let stream = Stream::start().await;
    let mut consumer = start(database, &stream.0.url()).await;
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let doomed = rng.random_range(0..EVENTS);
        for event in 0..EVENTS {
            let id = format!("p{round:03}-{event:03}");
            stream.send(&changed(&[&id])).await;
            sent.push(format!("product:{id}"));
            sleep(Duration::from_micros(rng.random_range(0..2_000))).await;
            if event == doomed {
                consumer.signal("KILL").await;
            }
        }
        consumer.kill().await;
        consumer = start(database, &stream.0.url()).await;
    }
    stream.done().await;
    // What was committed and not acknowledged has its effect again.
    let mut seen = logged(database).await;
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, sent);
    assert!(stream.dead().await.is_empty());
    consumer.stop().await;
}
