//! Every fault of the proxy, before a real server.

#![allow(clippy::disallowed_methods, reason = "tests measure what a real server takes")]

mod connections;
mod pushes;
mod replays;
mod replies;
mod traps;

use std::time::Duration;

use larder_test_servers::{Faults, Proxy, Redis, RedisClient, Reply};

/// Longer than a message takes, shorter than anybody minds.
const SILENCE: Duration = Duration::from_millis(150);
const NONE: Faults = Faults {
    push_drop: 0.0,
    push_duplicate: 0.0,
    push_swap: 0.0,
    push_delay: Duration::ZERO,
    push_black_hole: false,
    subscriber_black_hole: false,
    reply_delay: Duration::ZERO,
    reply_black_hole: 0.0,
    reply_cut: 0.0,
    replay: 0.0,
    replay_age: Duration::ZERO,
    refuse: 0.0,
};

/// A server and a proxy before it.
async fn proxied() -> (Redis, Proxy) {
    let redis = Redis::start(larder_test_servers::RedisOptions::default()).await;
    let proxy = Proxy::start(redis.address());
    assert_eq!(proxy.faults(), NONE, "a new proxy harms nothing");
    (redis, proxy)
}

async fn client(proxy: &Proxy) -> RedisClient {
    RedisClient::connect(proxy.address()).await.expect("a connection to the proxy")
}

/// A connection that has subscribed to the channel `c`.
async fn subscriber(proxy: &Proxy, protocol: &str) -> RedisClient {
    let mut client = client(proxy).await;
    let hello = client.call(&["HELLO", protocol]).await.unwrap();
    assert!(matches!(hello, Reply::List(_)), "{hello:?}");
    let reply = client.call(&["SUBSCRIBE", "c"]).await.unwrap();
    assert_eq!(pushed(&reply), "subscribe\nc\n1");
    client
}

/// The text of a push, or of what is one in RESP2.
fn pushed(reply: &Reply) -> String {
    assert!(matches!(reply, Reply::Push(_) | Reply::List(_)), "{reply:?}");
    reply.text()
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

/// Publishes the texts on `c`, past the proxy.
async fn publish(redis: &Redis, texts: &[&str]) {
    let mut client = redis.client().await;
    for one in texts {
        let heard = client.call(&["PUBLISH", "c", one]).await.unwrap();
        assert!(heard != text("0"), "nobody listens");
    }
}

/// The next messages of `c`.
async fn messages(client: &mut RedisClient, count: usize) -> Vec<String> {
    let mut messages = Vec::new();
    for _ in 0..count {
        let message = pushed(&client.next().await.unwrap());
        messages.push(message.strip_prefix("message\nc\n").expect(&message).to_owned());
    }
    messages
}
