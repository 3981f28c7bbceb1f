//! `same_snapshot`: what one transaction changed is seen together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use larder_proto::catalog::{
    BatchGetProductsRequest, BatchGetProductsResponse, Product, ReadOptions, UpdateProductRequest,
};
use larder_test_servers::Faults;
use prost_types::FieldMask;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    psql::Psql,
    report::Report,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

const PAIRS: usize = 8;
/// What the two products of a pair have together.
const STOCK: i64 = 1_000;
const READERS: usize = 6;
/// Where copies are to be of use, so many batches are read for each transaction.
const BATCHES_PER_MOVE: usize = 3 * READERS;
/// The share of the messages that are lost.
const LOST: f64 = 0.3;

/// So many batches that ask for one snapshot, for each that is asked for, are read until there was something to tear.
const PATIENCE: usize = 50;

/// What batches showed.
#[derive(Debug, Default)]
struct Seen {
    /// Batches that asked for one snapshot.
    together: AtomicUsize,
    /// Of those, the ones in which at least one product came from memory.
    copied: AtomicUsize,
    /// Of those, the ones in which a sum was not right.
    torn: AtomicUsize,
    /// Batches that did not ask for it.
    otherwise: AtomicUsize,
    /// Of those, the ones in which a sum was not right.
    torn_otherwise: AtomicUsize,
    /// Transactions that moved stock.
    moved: AtomicUsize,
}

pub(super) async fn same(setup: &Setup) -> anyhow::Result<Report> {
    // Between two looks at the change log a replica knows of one change of a transaction and not of the other, if it was
    // told of something else meanwhile.
    let mut stage = setup.quiet_stage().await?;
    let mut session = stage.world.psql().await?;
    for id in ids() {
        let half = STOCK / 2;
        session
            .run(&format!(
                "INSERT INTO products (id, name, attributes) VALUES ('{id}', 'Stock', jsonb_build_object('stock', '{half}'))"
            ))
            .await?;
    }
    stage.start_load().await;
    stage.world.set_faults(Faults { push_drop: LOST, ..Faults::default() });
    let (batches, seen, over) =
        (setup.count(1_000, 10_000), Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let moving = tokio::spawn(shift(session, Arc::clone(&seen), Arc::clone(&over)));
    let read = try_join_all((0..READERS as u64).map(|number| batch(&stage, number, batches, &seen))).await;
    over.store(true, Ordering::Relaxed);
    moving.await.context("nobody moved anything")??;
    read?;
    stage.world.set_faults(Faults::default());
    stage.stop_load().await;
    let [together, copied, torn, otherwise, moved] =
        [&seen.together, &seen.copied, &seen.torn, &seen.torn_otherwise, &seen.moved]
            .map(|count| count.load(Ordering::Relaxed));
    stage.did(format!("{together} batches of one snapshot, {moved} transactions meanwhile"));
    stage.note(format!("{copied} of them with products from memory; {otherwise} others were torn"));
    stage.must(torn == 0, format!("{torn} batches of one snapshot showed a part of a transaction"));
    stage.must(seen.had_something_to_tear(batches), "there was hardly anything to tear");
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

impl Seen {
    /// Whether enough batches were read, and there was something to tear.
    fn is_enough(&self, batches: usize) -> bool {
        let patience = if self.had_something_to_tear(batches) { 1 } else { PATIENCE };
        self.together.load(Ordering::Relaxed) >= batches * patience
    }

    /// Whether transactions went on meanwhile, batches of one snapshot took copies, and another batch was torn.
    fn had_something_to_tear(&self, batches: usize) -> bool {
        let several = |count: &AtomicUsize| count.load(Ordering::Relaxed) > batches / 20;
        several(&self.moved) && several(&self.copied) && self.torn_otherwise.load(Ordering::Relaxed) > 0
    }

    /// All batches that were read.
    fn read(&self) -> usize {
        self.together.load(Ordering::Relaxed) + self.otherwise.load(Ordering::Relaxed)
    }
}

fn ids() -> impl Iterator<Item = String> {
    (0..PAIRS).flat_map(|pair| ["left", "right"].map(|side| format!("stock-{side}-{pair}")))
}

/// Moves stock from one product of a pair to the other, in one transaction each time: by turns too fast for copies to be of use,
/// and only after several batches were read.
async fn shift(mut session: Psql, seen: Arc<Seen>, over: Arc<AtomicBool>) -> anyhow::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let moved = seen.moved.load(Ordering::Relaxed);
        let (pair, amount) = (moved % PAIRS, if (moved / PAIRS).is_multiple_of(2) { 7 } else { -7 });
        let change = |side, amount| {
            format!(
                "UPDATE products SET attributes = jsonb_build_object('stock', ((attributes->>'stock')::int + {amount})::text) \
                 WHERE id = 'stock-{side}-{pair}'"
            )
        };
        session.run(&format!("BEGIN; {}; {}; COMMIT", change("left", amount), change("right", -amount))).await?;
        seen.moved.fetch_add(1, Ordering::Relaxed);
        let before = seen.read();
        loop {
            wait(Duration::from_millis(1)).await;
            let fast = (moved / 50).is_multiple_of(2);
            if fast || over.load(Ordering::Relaxed) || seen.read() >= before + BATCHES_PER_MOVE {
                break;
            }
        }
    }
    Ok(())
}

/// Reads batches on all replicas, until all are read. In between a product of a pair is changed alone, so that the copies of the
/// two come from different loads.
async fn batch(stage: &Stage, number: u64, batches: usize, seen: &Seen) -> anyhow::Result<()> {
    let mut rng = SmallRng::seed_from_u64(number);
    while !seen.is_enough(batches) {
        let mut client = stage.shop.client(rng.random_range(0..REPLICAS));
        let same_snapshot = rng.random_bool(0.6);
        if rng.random_bool(0.2) {
            let (pair, description) = (rng.random_range(0..PAIRS), format!("{number}, {}", rng.random_range(0..1_000)));
            let product = Product { id: format!("stock-left-{pair}"), description, ..Product::default() };
            let update_mask = Some(FieldMask { paths: vec!["description".to_owned()] });
            client
                .update_product(UpdateProductRequest {
                    product: Some(product),
                    update_mask,
                    ..UpdateProductRequest::default()
                })
                .await?;
        }
        let read = Some(ReadOptions { same_snapshot, ..ReadOptions::default() });
        let request = BatchGetProductsRequest { ids: ids().collect(), read };
        let reply = client.batch_get_products(request).await?.into_inner();
        let torn = sums(&reply)?.values().any(|sum| *sum != STOCK);
        if same_snapshot {
            seen.together.fetch_add(1, Ordering::Relaxed);
            let copied = reply.counts.is_some_and(|counts| counts.l1 > 0);
            seen.copied.fetch_add(copied.into(), Ordering::Relaxed);
            seen.torn.fetch_add(torn.into(), Ordering::Relaxed);
        } else {
            seen.otherwise.fetch_add(1, Ordering::Relaxed);
            seen.torn_otherwise.fetch_add(torn.into(), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// What each pair has.
fn sums(reply: &BatchGetProductsResponse) -> anyhow::Result<HashMap<&str, i64>> {
    let mut sums = HashMap::new();
    for product in &reply.products {
        let pair = product.id.rsplit('-').next().context("a pair")?;
        let stock: i64 = product.attributes.get("stock").context("stock")?.parse()?;
        *sums.entry(pair).or_default() += stock;
    }
    ensure!(sums.len() == PAIRS && reply.products.len() == 2 * PAIRS, "{} products in a batch", reply.products.len());
    Ok(sums)
}
