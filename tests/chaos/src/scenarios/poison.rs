//! Somebody writes rows that nobody can read, and switches off what writes the change log.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use larder_proto::catalog::{CacheTier, GetProductRequest};
use tokio::process::Command;
use tonic::Code;

use super::{
    hanging::must_have_read_on,
    outsiders::{self, KEYS, WRITER},
};
use crate::{
    probe, product,
    psql::Psql,
    report::Report,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// Rows of the change log that no release writes, and a product larger than any that is read.
const ROWS: [&str; 5] = [
    "INSERT INTO changes (kind, key, version, tags) VALUES ('put', 'bad', 1, ARRAY['x', NULL])",
    "INSERT INTO changes (kind, key, version, categories) VALUES ('delete', 'bad', 1, ARRAY[['x'], ['y']])",
    "INSERT INTO changes (kind, key) VALUES ('pattern', repeat('x', 4000000))",
    "INSERT INTO changes (kind, key, version, tags) SELECT 'put', 'bad', 1, array_agg('t' || n) FROM generate_series(1, 100000) n",
    "UPDATE products SET image_url = repeat('x', 4000000) WHERE id = 'bad'",
];
const OFF: &str = "ALTER TABLE products DISABLE TRIGGER ALL";
/// Switches the triggers on again as they must be.
const ON: &str = "ALTER TABLE products ENABLE ALWAYS TRIGGER product_before_write; \
     ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_write; \
     ALTER TABLE products ENABLE ALWAYS TRIGGER product_after_truncate";
/// How soon something is noticed that is noticed within the bound.
const NOTICED: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn rows_and_triggers(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    let mut session = stage.world.psql().await?;
    outsiders::create(&stage.shop, &mut session).await?;
    session.run("INSERT INTO products (id, name) VALUES ('bad', 'bad')").await?;
    // An earlier release let such rows in.
    session.run("ALTER TABLE changes DROP CONSTRAINT changes_terms_flat, DROP CONSTRAINT changes_key_length").await?;
    session.run("ALTER TABLE products DROP CONSTRAINT products_text_length").await?;
    stage.start_load().await;
    let length = setup.seconds(6, 30);

    let before = stage.shop.tally.figures();
    let (until, mut rows) = (stage.shop.now() + length, 0);
    while stage.shop.now() < until {
        session.run(ROWS[rows % ROWS.len()]).await?;
        rows += 1;
        wait(LOOK).await;
    }
    session.run(ROWS[4]).await?;
    for replica in 0..REPLICAS {
        until_tier(&stage, replica, "bad", None).await?;
    }
    must_have_read_on(&mut stage, before, "rows could not be read").await;
    session.run("DELETE FROM products WHERE id = 'bad'").await?;

    let before = stage.shop.tally.figures();
    let rounds = setup.count(10, 50);
    for round in 0..rounds {
        change_silently(&stage, &mut session, KEYS.start + round % KEYS.len()).await?;
    }
    must_have_read_on(&mut stage, before, "triggers were off for a moment").await;

    let before = stage.shop.tally.figures();
    session.run(OFF).await?;
    for replica in 0..REPLICAS {
        until_tier(&stage, replica, &product::id(KEYS.start), Some(CacheTier::Database)).await?;
    }
    wait(length).await;
    must_have_read_on(&mut stage, before, "triggers were off").await;
    repair(setup, &stage).await?;
    for replica in 0..REPLICAS {
        until_tier(&stage, replica, &product::id(KEYS.start), Some(CacheTier::L1)).await?;
    }
    probe::writes(&stage.shop, length).await?;
    stage.stop_load().await;
    stage.must_be_without_errors();
    stage.did(format!(
        "{rows} rows that cannot be read, triggers off {rounds} times for a moment and once for {length:?}"
    ));
    Ok(stage.end().await)
}

/// Changes a product while no trigger looks, in one transaction, and reads it on every replica until the bound has passed.
async fn change_silently(stage: &Stage, session: &mut Psql, key: usize) -> anyhow::Result<()> {
    let shop = &stage.shop;
    for replica in 0..REPLICAS {
        shop.get(key, replica, None).await;
    }
    let write = shop.history.begin(key, WRITER, true, shop.now());
    session.run(&format!("BEGIN; {OFF}; {}; {ON}; COMMIT", product::update(write))).await?;
    let committed = shop.now();
    shop.history.acknowledge(write, None, committed);
    while shop.now() < committed + 2 * shop.history.bound() {
        for replica in 0..REPLICAS {
            shop.get(key, replica, None).await;
        }
        wait(LOOK).await;
    }
    Ok(())
}

/// Waits until a replica answers from a tier; without one, until it says that the product cannot be read.
async fn until_tier(stage: &Stage, replica: usize, id: &str, tier: Option<CacheTier>) -> anyhow::Result<()> {
    let begin = stage.shop.now();
    loop {
        let request = GetProductRequest { id: id.to_owned(), read: None };
        let seen = match stage.shop.client(replica).get_product(request).await {
            Ok(reply) => Some(reply.into_inner().cache.context("no facts of the cache")?.tier()),
            Err(status) if status.code() == Code::DataLoss => None,
            Err(status) => bail!("{id} on replica {}: {status}", replica + 1),
        };
        if seen == tier {
            return Ok(());
        }
        ensure!(stage.shop.now() < begin + NOTICED, "{id} on replica {} comes from {seen:?}", replica + 1);
        wait(LOOK).await;
    }
}

/// Puts the triggers right, as an operator does.
async fn repair(setup: &Setup, stage: &Stage) -> anyhow::Result<()> {
    let mut command = Command::new(&setup.program);
    command.args(["database", "repair", "--database-url", &stage.world.url()]);
    let done = command.output().await.context("the repair does not start")?;
    let told = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success() && told.contains("is switched off"), "the repair: {done:?}");
    Ok(())
}
