//! A stream of events in a Redis of the test's own, and those who read it.

use std::time::Duration;

use larder_cache::SharedConfig;
use larder_server::config::Config;
use larder_test_servers::{Redis, RedisOptions};

use crate::harness::{Database, Server, eventually};

pub(super) const STREAM: &str = "shop-events";
pub(super) const DEAD: &str = "shop-events:dead";
const GROUP: &str = "larder";

/// The stream.
pub(super) struct Stream(pub(super) Redis);

impl Stream {
    pub(super) async fn start() -> Self {
        Self(Redis::start(RedisOptions::default()).await)
    }

    /// A replica that reads it.
    pub(super) async fn replica(&self, database: &Database) -> Server {
        self.replica_with(database, |_| {}).await
    }

    /// A replica that reads it and is configured in other ways.
    pub(super) async fn replica_with(&self, database: &Database, change: impl FnOnce(&mut Config)) -> Server {
        let url = self.0.url();
        Server::start_with(database, |config| {
            config.cache.shared = Some(SharedConfig { url, ..SharedConfig::default() });
            config.events.queue.stream = Some(STREAM.to_owned());
            config.events.queue.min_idle = Duration::from_millis(100);
            change(config);
        })
        .await
    }

    /// Sends an event; returns the id of its entry.
    pub(super) async fn send(&self, event: &str) -> String {
        self.0.cli(&["XADD", STREAM, "*", "event", event]).await
    }

    /// How many entries are in the hands of consumers.
    pub(super) async fn pending(&self) -> u64 {
        let told = self.0.cli(&["XPENDING", STREAM, GROUP]).await;
        told.lines().next().and_then(|first| first.parse().ok()).expect("a number of entries")
    }

    /// How often the oldest entry in the hands of consumers was delivered.
    pub(super) async fn deliveries(&self) -> u64 {
        let told = self.0.cli(&["XPENDING", STREAM, GROUP, "-", "+", "1"]).await;
        told.lines().nth(3).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Whether every entry was read and acknowledged.
    pub(super) async fn is_done(&self) -> bool {
        let groups = self.0.try_cli(&["XINFO", "GROUPS", STREAM]).await.unwrap_or_default();
        let facts: Vec<_> = groups.lines().collect();
        let fact = |name| facts.iter().position(|fact| *fact == name).map(|at| facts[at + 1]);
        fact("pending") == Some("0") && fact("lag") == Some("0")
    }

    /// Waits until every entry was read and acknowledged.
    pub(super) async fn done(&self) {
        eventually("every event to be dealt with", async || self.is_done().await).await;
    }

    /// The names of the consumers, with how many entries each has in hand.
    pub(super) async fn consumers(&self) -> Vec<(String, String)> {
        let told = self.0.cli(&["XINFO", "CONSUMERS", STREAM, GROUP]).await;
        let facts: Vec<_> = told.lines().collect();
        let named = facts.iter().enumerate().filter(|(_, fact)| **fact == "name");
        named.map(|(at, _)| (facts[at + 1].to_owned(), facts[at + 3].to_owned())).collect()
    }

    /// What was put aside: of each entry the names and values of its fields.
    pub(super) async fn dead(&self) -> Vec<Vec<String>> {
        let mut client = self.0.client().await;
        let reply = client.call(&["XRANGE", DEAD, "-", "+"]).await.expect("a reply of Redis");
        let larder_test_servers::Reply::List(entries) = reply else { panic!("entries: {reply:?}") };
        let fields = |entry: &larder_test_servers::Reply| match entry {
            larder_test_servers::Reply::List(parts) => parts[1].text().lines().map(str::to_owned).collect(),
            other => panic!("an entry: {other:?}"),
        };
        entries.iter().map(fields).collect()
    }
}
