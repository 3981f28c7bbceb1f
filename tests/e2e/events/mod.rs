//! Events of other systems: webhooks, and the queue.

mod kills;
mod queue;
mod replays;
pub(crate) mod sender;
mod stream;
mod webhook;

use larder_proto::catalog::CacheTier;

use crate::harness::{Database, Server};

/// From where a read of a product is answered.
async fn tier(server: &Server, id: &str) -> CacheTier {
    server.get(id).await.cache.expect("facts about the copy").tier()
}

/// Reads a product until it is answered from memory.
async fn warm(server: &Server, id: &str) {
    server.settle().await;
    server.get(id).await;
    assert_eq!(tier(server, id).await, CacheTier::L1, "a copy in memory");
}

/// What the change log says that copies of products were to be dropped, in order.
async fn logged(database: &Database) -> Vec<String> {
    let keys = database.shell("SELECT key FROM changes WHERE kind = 'key' ORDER BY key").await;
    keys.lines().map(str::to_owned).collect()
}
