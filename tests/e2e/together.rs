//! `same_snapshot`: what one transaction changed is seen together or not at all.
//!
//! A session that knows nothing of Larder moves stock between two products, in one transaction each time, so that the sum never
//! changes. Stock is kept as a price, which is exact.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_proto::{
    catalog::{
        BatchGetProductsRequest, ListProductsRequest, Product, ProductFilter, ReadOptions, SearchProductsRequest,
        read_options::Consistency,
    },
    google_type::Money,
};
use larder_test_servers::{Postgres, PostgresOptions};
use tokio::{task::JoinHandle, time::sleep};
use tonic::Code;

use crate::{
    coherence::Outsider,
    harness::{Database, Refusal, Server, eventually, named, on_both_databases, refusal},
};

on_both_databases!(
    batches_of_one_snapshot_show_whole_transactions,
    pages_of_one_snapshot_show_whole_transactions,
    without_it_transactions_are_seen_in_part,
    copies_alone_are_of_one_snapshot_as_well,
);

const READS: usize = 2_000;
const PAIRS: usize = 4;
/// What the two products of a pair have together.
const STOCK: i64 = 1_000;

async fn batches_of_one_snapshot_show_whole_transactions(database: &Database) {
    let server = stocked(database).await;
    let mover = Mover::start(database).await;
    let poker = Poker::start(&server);
    let freshest = Some(Consistency::FullyConsistent(true));
    let mut from_copies = 0;
    for round in 0..READS {
        let consistency = if round % 4 == 0 { freshest.clone() } else { None };
        let read = ReadOptions { same_snapshot: true, consistency, ..Default::default() };
        let request = BatchGetProductsRequest { ids: ids(), read: Some(read) };
        let reply = server.client().batch_get_products(request).await.expect("a batch").into_inner();
        from_copies += usize::from(reply.counts.is_some_and(|counts| counts.l1 > 0));
        assert_eq!(sums(reply.products), [STOCK; PAIRS], "batch {round}");
    }
    assert!(from_copies > 0, "every batch was read in one statement");
    poker.stop().await;
    assert!(mover.stop().await > 50, "nothing was moved meanwhile");
    server.stop().await;
}

async fn pages_of_one_snapshot_show_whole_transactions(database: &Database) {
    let server = stocked(database).await;
    let mover = Mover::start(database).await;
    let poker = Poker::start(&server);
    let read = ReadOptions { same_snapshot: true, ..Default::default() };
    for round in 0..READS / 4 {
        let (found, what) = if round % 2 == 0 {
            (list(&server, &read).await, "list")
        } else {
            (search(&server, &read).await, "search")
        };
        assert_eq!(sums(found), [STOCK; PAIRS], "{what} {round}");
    }
    poker.stop().await;
    assert!(mover.stop().await > 50, "nothing was moved meanwhile");
    server.stop().await;
}

/// The tests above can fail.
async fn without_it_transactions_are_seen_in_part(database: &Database) {
    let server = stocked(database).await;
    let mover = Mover::start(database).await;
    let poker = Poker::start(&server);
    eventually("a transaction seen in part", async || sums(batch(&server, None).await) != [STOCK; PAIRS]).await;
    poker.stop().await;
    mover.stop().await;
    server.stop().await;
}

async fn copies_alone_are_of_one_snapshot_as_well(database: &Database) {
    let server = stocked(database).await;
    let cached = ReadOptions { same_snapshot: true, cache_only: true, ..Default::default() };
    let status = server.client().list_products(in_category(Some(cached.clone()))).await.expect_err("nothing is cached");
    assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "NOT_CACHED"));
    assert_eq!(batch(&server, Some(cached.clone())).await, []);
    list(&server, &ReadOptions::default()).await;
    // A copy that the server cannot vouch for, because a busy machine keeps it from its passes, counts as missing for now.
    eventually("the page and all products", async || {
        let page = server.client().list_products(in_category(Some(cached.clone()))).await;
        page.is_ok_and(|page| sums(page.into_inner().products) == [STOCK; PAIRS])
            && batch(&server, Some(cached.clone())).await.len() == 2 * PAIRS
    })
    .await;
    database.shell("UPDATE products SET description = 'another' WHERE id = 'left-0'").await;
    eventually("all products but one", async || {
        let left: Vec<_> = batch(&server, Some(cached.clone())).await.into_iter().map(|product| product.id).collect();
        assert!(!left.contains(&"left-0".to_owned()), "{left:?}");
        left.len() == 2 * PAIRS - 1
    })
    .await;
    let status = server.client().list_products(in_category(Some(cached))).await.expect_err("the page fell as well");
    assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "NOT_CACHED"));
    server.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_it_is_refused_on_postgres() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let server = stocked(&database).await;
    batch(&server, None).await;
    postgres.stop();
    eventually("stale copies", async || {
        let request = BatchGetProductsRequest { ids: ids(), read: None };
        let reply = server.client().batch_get_products(request).await;
        reply.is_ok_and(|reply| reply.into_inner().cache.is_some_and(|cache| cache.stale))
    })
    .await;
    let read = ReadOptions { same_snapshot: true, ..Default::default() };
    let request = BatchGetProductsRequest { ids: ids(), read: Some(read) };
    let status = server.client().batch_get_products(request).await.expect_err("no snapshot can be told");
    assert_eq!(refusal(&status), Refusal::of(Code::Unavailable, "DATABASE_UNAVAILABLE"));
    server.stop().await;
}

async fn stocked(database: &Database) -> Server {
    let server = Server::start(database).await;
    let products = ids().into_iter().map(|id| Product {
        price: Some(Money { currency_code: "EUR".to_owned(), units: STOCK / 2, nanos: 0 }),
        categories: vec!["stock".to_owned()],
        ..named(&id, "Stock")
    });
    server.import(products).await;
    server
}

fn ids() -> Vec<String> {
    (0..PAIRS).flat_map(|pair| [format!("left-{pair}"), format!("right-{pair}")]).collect()
}

/// What each pair has.
fn sums(products: Vec<Product>) -> [i64; PAIRS] {
    let mut sums = [0; PAIRS];
    for product in products {
        let pair: usize = product.id.split('-').next_back().and_then(|pair| pair.parse().ok()).expect("a pair");
        sums[pair] += product.price.expect("stock").units;
    }
    sums
}

async fn batch(server: &Server, read: Option<ReadOptions>) -> Vec<Product> {
    let request = BatchGetProductsRequest { ids: ids(), read };
    server.client().batch_get_products(request).await.expect("a batch").into_inner().products
}

fn in_category(read: Option<ReadOptions>) -> ListProductsRequest {
    let filter = Some(ProductFilter { category: "stock".to_owned(), ..Default::default() });
    ListProductsRequest { filter, read, ..Default::default() }
}

async fn list(server: &Server, read: &ReadOptions) -> Vec<Product> {
    server.client().list_products(in_category(Some(read.clone()))).await.expect("a page").into_inner().products
}

async fn search(server: &Server, read: &ReadOptions) -> Vec<Product> {
    let request = SearchProductsRequest { query: "stock".to_owned(), read: Some(read.clone()), ..Default::default() };
    server.client().search_products(request).await.expect("a page").into_inner().products
}

/// Moves stock until it is stopped; returns how often.
struct Mover {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Mover {
    async fn start(database: &Database) -> Self {
        let mut session = Outsider::connect(database).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut moved = 0;
            while !stopped.load(Ordering::Relaxed) {
                let (pair, amount) = (moved % PAIRS, if (moved / PAIRS).is_multiple_of(2) { 7 } else { -7 });
                session.begin().await;
                for (side, amount) in [("left", amount), ("right", -amount)] {
                    session
                        .run(format!(
                            "UPDATE products SET price_units = price_units + {amount} WHERE id = '{side}-{pair}'"
                        ))
                        .await;
                }
                session.run("COMMIT").await;
                moved += 1;
                // By turns too fast for copies to be of use, and slow enough.
                let pause = if moved / 100 % 2 == 0 { 1 } else { 40 };
                sleep(Duration::from_millis(pause)).await;
            }
            moved
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}

/// Reads the left products alone, so that the copies of the two of a pair come from different loads.
struct Poker {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Poker {
    fn start(server: &Server) -> Self {
        let mut client = server.client();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let left: Vec<_> = ids().into_iter().filter(|id| id.starts_with("left")).collect();
            while !stopped.load(Ordering::Relaxed) {
                let request = BatchGetProductsRequest { ids: left.clone(), read: None };
                client.batch_get_products(request).await.expect("a batch");
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic");
    }
}
