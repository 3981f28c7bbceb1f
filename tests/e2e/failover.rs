//! A failover of PostgreSQL to a standby that the URL names too.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use larder_proto::catalog::UpdateProductRequest;
use larder_test_servers::{Postgres, PostgresOptions};
use tokio::task::JoinHandle;

use crate::harness::{Database, Server, eventually, named};

/// Writes before the failover, and after it.
const WRITES: u64 = 20;

/// Somebody who gives product `a` one name after the other, and somebody who reads it meanwhile.
struct Traffic {
    acknowledged: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    reader: JoinHandle<u64>,
}

impl Traffic {
    fn start(server: &Server) -> Self {
        let (acknowledged, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (mut client, acked, end) = (server.client(), Arc::clone(&acknowledged), Arc::clone(&ended));
        let writer = tokio::spawn(async move {
            let mut number = 0;
            while !end.load(Ordering::Relaxed) {
                // The outcome of a write may be unknown: no number is used twice.
                number += 1;
                let product = Some(named("a", &number.to_string()));
                if client.update_product(UpdateProductRequest { product, ..Default::default() }).await.is_ok() {
                    acked.store(number, Ordering::SeqCst);
                }
            }
        });
        let (mut client, acked, end) = (server.client(), Arc::clone(&acknowledged), Arc::clone(&ended));
        let reader = tokio::spawn(async move {
            let mut fresh = 0;
            while !end.load(Ordering::Relaxed) {
                let least = acked.load(Ordering::SeqCst);
                let request = larder_proto::catalog::GetProductRequest { id: "a".to_owned(), ..Default::default() };
                let Ok(reply) = client.get_product(request).await else { continue };
                let reply = reply.into_inner();
                if reply.cache.is_some_and(|cache| cache.stale) {
                    continue;
                }
                let shown: u64 = reply.product.expect("a product").name.parse().expect("a number");
                assert!(shown >= least, "{shown} was shown after {least} was acknowledged");
                fresh += 1;
            }
            fresh
        });
        Self { acknowledged, ended, writer, reader }
    }

    /// Waits for further writes to be acknowledged.
    async fn goes_on(&self, what: &str) {
        let last = self.acknowledged.load(Ordering::SeqCst);
        eventually(what, async || self.acknowledged.load(Ordering::SeqCst) >= last + WRITES).await;
    }

    /// Returns the last acknowledged write, and how many reads were fresh.
    async fn stop(self) -> (u64, u64) {
        self.ended.store(true, Ordering::Relaxed);
        self.writer.await.expect("no panic of the writer");
        let fresh = self.reader.await.expect("no panic of the reader");
        (self.acknowledged.load(Ordering::SeqCst), fresh)
    }
}

#[tokio::test]
async fn a_standby_that_is_promoted_takes_over() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let standby = postgres.start_standby().await;
    // What is acknowledged is on the standby as well.
    postgres.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    postgres.psql("postgres", "SELECT pg_reload_conf()").await;
    eventually("a synchronous standby", async || {
        postgres.psql("postgres", "SELECT sync_state FROM pg_stat_replication").await == "sync"
    })
    .await;

    // The standby comes first, and is passed over.
    let port = postgres.port().to_string();
    let both = format!("{},127.0.0.1:{port}", standby.port());
    let url = format!("{}?target_session_attrs=read-write", database.url().replace(&port, &both));
    let server = Server::start_with(&database, |config| config.storage.url.clone_from(&url)).await;
    server.create(named("a", "0")).await;
    let traffic = Traffic::start(&server);
    traffic.goes_on("writes to the primary").await;
    postgres.kill();
    standby.psql("postgres", "SELECT pg_promote()").await;
    traffic.goes_on("writes to the promoted standby").await;
    let (acknowledged, fresh) = traffic.stop().await;
    assert!(fresh > 0, "nothing was read that was not stale");

    let here = database.url().replace(&port, &standby.port().to_string());
    let name: u64 = standby.psql(&here, "SELECT name FROM products").await.parse().expect("a number");
    assert!(name >= acknowledged, "{acknowledged} was acknowledged, {name} is there");
    // Changes of others are heard of as before.
    standby.psql(&here, "UPDATE products SET name = 'typed'").await;
    eventually("what was typed at the new primary", async || {
        server.get("a").await.product.is_some_and(|product| product.name == "typed")
    })
    .await;
    server.stop().await;
}
