//! A gate before a real server: what passes, what does not, and what is left when it opens again.

use std::time::Duration;

use larder_test_servers::{Gate, Passage, Redis, RedisClient, RedisOptions, Reply};

const SILENCE: Duration = Duration::from_millis(150);

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

#[tokio::test]
async fn what_was_on_its_way_passes_when_the_gate_opens() {
    let redis = Redis::start(RedisOptions::default()).await;
    let gate = Gate::start(redis.address());
    let mut client = RedisClient::connect(gate.address()).await.expect("a connection");
    assert_eq!(client.call(&["PING"]).await.unwrap(), text("PONG"));
    gate.set(Passage::Silent);
    client.send(&["SET", "k", "v"]).await.unwrap();
    let mut new = RedisClient::connect(gate.address()).await.expect("a connection that seems to be one");
    new.send(&["PING"]).await.unwrap();
    assert_eq!(client.next_within(SILENCE).await.unwrap(), None);
    assert_eq!(new.next_within(SILENCE).await.unwrap(), None);
    assert_eq!(redis.cli(&["EXISTS", "k"]).await, "0");
    gate.set(Passage::Open);
    assert_eq!(client.next().await.unwrap(), text("OK"));
    assert_eq!(new.next().await.unwrap(), text("PONG"));
}

#[tokio::test]
async fn a_closed_gate_ends_what_is_open_and_takes_nothing_new() {
    let redis = Redis::start(RedisOptions::default()).await;
    let gate = Gate::start(redis.address());
    let mut client = RedisClient::connect(gate.address()).await.expect("a connection");
    assert_eq!(client.call(&["PING"]).await.unwrap(), text("PONG"));
    gate.set(Passage::Closed);
    client.next().await.expect_err("a connection that was cut");
    let new = async { RedisClient::connect(gate.address()).await?.call(&["PING"]).await };
    new.await.expect_err("a connection that was closed");
    gate.set(Passage::Open);
    let mut client = RedisClient::connect(gate.address()).await.expect("a connection");
    assert_eq!(client.call(&["PING"]).await.unwrap(), text("PONG"));
    assert_eq!(gate.connections(), 1);
}
