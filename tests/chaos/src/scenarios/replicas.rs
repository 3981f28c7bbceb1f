//! Replicas that are cut off, stopped or overrun.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use larder_proto::catalog::GetProductRequest;
use larder_test_servers::{Faults, Passage, Replica};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    product,
    shop::connect,
    stage::{Report, Setup, Stage, wait},
    world::REPLICAS,
};

/// Which replica loses Redis, and which the database.
const WITHOUT_REDIS: usize = 0;
const WITHOUT_DATABASE: usize = 1;
/// Connections to each replica that the readers of a cold key share.
const CONNECTIONS: usize = 4;

pub(super) async fn partitions(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    let length = setup.seconds(8, 20);
    let proxy = &stage.world.proxies()[WITHOUT_REDIS];
    // First it does not know that it is cut off, then it does.
    proxy.set(Faults { reply_black_hole: 1.0, subscriber_black_hole: true, ..Faults::default() });
    wait(length).await;
    proxy.set(Faults { refuse: 1.0, ..Faults::default() });
    proxy.cut_all();
    wait(length).await;
    proxy.set(Faults::default());
    wait(Duration::from_secs(3)).await;
    let first = stage.shop.tally.figures();
    stage.must(first.errors() == 0, format!("{} calls failed while a replica was without Redis", first.errors()));
    stage.must(first.stale == 0, format!("{} replies were stale while the database was there", first.stale));

    stage.world.set_database(WITHOUT_DATABASE, Passage::Silent);
    wait(length).await;
    stage.world.set_database(WITHOUT_DATABASE, Passage::Closed);
    wait(length).await;
    let second = stage.shop.tally.figures();
    stage.world.set_database(WITHOUT_DATABASE, Passage::Open);
    // Connections that had gone silent are given up first.
    wait(Duration::from_secs(20)).await;
    let healed = stage.shop.tally.figures();
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    let end = stage.shop.tally.figures();
    stage.must(second.stale > 0, "the replica without a database served nothing that was marked stale");
    let elsewhere = |errors: [u64; REPLICAS]| errors.iter().sum::<u64>() - errors[WITHOUT_DATABASE];
    let (reads, writes) = (elsewhere(end.read_errors), elsewhere(end.write_errors));
    stage.must(reads == 0, format!("{reads} reads failed on replicas that had their database"));
    stage.note(format!("{writes} writes failed on replicas that had their database"));
    stage.must(
        (end.stale, end.errors()) == (healed.stale, healed.errors()),
        format!("stale replies and errors went on after all was mended: {healed:?}, {end:?}"),
    );
    Ok(stage.end().await)
}

pub(super) async fn paused(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    for number in 0..setup.count(2, 6) {
        let replica = &stage.world.replicas()[number % REPLICAS];
        replica.pause();
        wait(Duration::from_secs(5)).await;
        replica.resume();
        wait(Duration::from_secs(3)).await;
    }
    stage.stop_load().await;
    stage.must_be_without_errors();
    Ok(stage.end().await)
}

pub(super) async fn stampede(setup: &Setup) -> anyhow::Result<Report> {
    let log = ("log_statement".to_owned(), "all".to_owned());
    let mut stage = setup.stage_with(|plan| plan.postgres.push(log)).await?;
    let mut session = stage.world.psql().await?;
    for round in 0..setup.count(3, 10) {
        let id = format!("cold-{round}-key");
        session.run(&format!("INSERT INTO products (id, name) VALUES ('{id}', 'Cold')")).await?;
        // Until every replica has learned of it, none may take what another one read.
        wait(stage.shop.history.bound()).await;
        let failed = crowd(&stage, &id, setup.count(2_000, 5_000)).await?;
        // PostgreSQL writes its log a moment later.
        wait(Duration::from_millis(500)).await;
        let log = stage.world.postgres.log();
        let queries: Vec<_> = log.lines().filter(|line| line.contains("parameters: ") && line.contains(&id)).collect();
        stage.note(format!("{id}: {}", queries.len()));
        stage.must(queries.len() == 1, format!("{} queries for {id}:\n    {}", queries.len(), queries.join("\n    ")));
        stage.must(failed == 0, format!("{failed} readers of {id} failed"));
    }
    // The key is not in the history, and something must be.
    for replica in 0..REPLICAS {
        stage.shop.get(0, replica, None).await;
    }
    Ok(stage.end().await)
}

/// Lets everybody read a product at once, on all replicas, and returns how many failed.
async fn crowd(stage: &Stage, id: &str, readers: usize) -> anyhow::Result<usize> {
    let mut clients = Vec::new();
    for address in stage.world.replicas().iter().map(Replica::address) {
        for _ in 0..CONNECTIONS {
            clients.push(connect(address).await?);
        }
    }
    let (barrier, mut tasks) = (Arc::new(Barrier::new(readers)), JoinSet::new());
    for number in 0..readers {
        let mut client = clients[number % clients.len()].clone();
        let (barrier, request) = (Arc::clone(&barrier), GetProductRequest { id: id.to_owned(), read: None });
        tasks.spawn(async move {
            barrier.wait().await;
            let reply = client.get_product(request).await;
            reply.is_ok_and(|reply| reply.into_inner().product.is_some_and(|product| product.name == "Cold"))
        });
    }
    let all = tokio::time::timeout(Duration::from_mins(1), tasks.join_all()).await;
    Ok(all.context("the readers of a cold key wait for ever")?.into_iter().filter(|found| !found).count())
}

/// The keys of the load, which every replica may have copies of.
pub(super) fn everything() -> impl Iterator<Item = (usize, usize)> {
    (0..product::LOADED).flat_map(|key| (0..REPLICAS).map(move |replica| (key, replica)))
}
