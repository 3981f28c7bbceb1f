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

#[tokio::test]
async fn one_answer_is_held_back_until_it_is_let_go() {
    let redis = Redis::start(RedisOptions::default()).await;
    let gate = Gate::start(redis.address());
    let mut client = RedisClient::connect(gate.address()).await.expect("a connection");
    let mut other = RedisClient::connect(gate.address()).await.expect("another one");
    client.call(&["SET", "wanted", "old"]).await.unwrap();
    let answer = gate.hold_answer(b"wanted");
    assert_eq!(other.call(&["PING"]).await.unwrap(), text("PONG"), "who asks for something else is not concerned");
    client.send(&["GET", "wanted"]).await.unwrap();
    let held = answer.held().await.expect("an answer");
    assert_eq!(other.call(&["SET", "wanted", "new"]).await.unwrap(), text("OK"), "only the first one is held back");
    assert_eq!(client.next_within(SILENCE).await.unwrap(), None);
    drop(held);
    assert_eq!(client.next().await.unwrap(), text("old"), "it was read before the change");
    drop(gate.hold_answer(b"wanted"));
    assert_eq!(client.call(&["GET", "wanted"]).await.unwrap(), text("new"), "nobody wants it held back any more");
}
