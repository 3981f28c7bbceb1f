//! The database is put back from a base backup: what was committed after that never was.

use std::time::Duration;

use anyhow::Context as _;
use larder_proto::catalog::{GetProductRequest, ReadOptions, read_options::Consistency};
use tonic::Code;

use super::{database::back, replicas::everything};
use crate::{
    history::{Mark, Seen},
    probe,
    product::{self, LOADED},
    report::Report,
    shop::Change,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

const WRITER: u32 = 700;

pub(super) async fn put_back(setup: &Setup) -> anyhow::Result<Report> {
    let wal = ("wal_level".to_owned(), "replica".to_owned());
    let mut stage = setup.stage_with(|plan| plan.postgres.push(wal)).await?;
    let (times, mut lost, mut refused) = (setup.count(1, 3), 0, 0);
    for _ in 0..times {
        stage.start_load().await;
        let copy = stage.world.postgres.base_backup().await;
        let copied = stage.shop.now();
        wait(setup.seconds(5, 20)).await;
        stage.stop_load().await;
        stage.must_keep_its_rate();
        let tokens = write_more(&stage).await?;
        stage.world.postgres.restore(copy).await;
        back(&stage).await?;
        stage.shop.history.forget_tokens();
        let undone = rewind(&stage, copied).await?;
        lost += undone;
        stage.shop.forget_heads().await;
        refused += refuse(&mut stage, &tokens).await;
        for _ in 0..3 {
            for (key, replica) in everything().chain(probes()) {
                stage.shop.get(key, replica, None).await;
            }
        }
        stage.must(undone > probe::KEYS.len(), format!("the database lost {undone} writes, so that little was tested"));
    }
    // It goes on from there.
    stage.start_load().await;
    wait(setup.seconds(5, 20)).await;
    stage.stop_load().await;
    stage.must_keep_its_rate();
    stage.did(format!("put back {times} times, {lost} writes lost, {refused} tokens of them refused"));
    stage.must_be_without_errors();
    Ok(stage.end().await)
}

fn probes() -> impl Iterator<Item = (usize, usize)> {
    probe::KEYS.flat_map(|key| (0..REPLICAS).map(move |replica| (key, replica)))
}

/// Writes what only the database that is about to go has, has every replica keep copies of that, and returns the tokens.
async fn write_more(stage: &Stage) -> anyhow::Result<Vec<Mark>> {
    let mut marks = Vec::new();
    for key in probe::KEYS {
        let change = if key % 5 == 0 { Change::Delete } else { Change::Put };
        let write = stage.shop.write(key, key % REPLICAS, WRITER, change).await?;
        for replica in 0..REPLICAS {
            probe::until_seen(&stage.shop, write, replica).await?;
        }
        marks.push(stage.shop.history.mark(write).context("no token")?);
    }
    Ok(marks)
}

/// Asks the database what it still has, and tells the history.
async fn rewind(stage: &Stage, copied: Duration) -> anyhow::Result<usize> {
    let mut session = stage.world.psql().await?;
    let names = session.run("SELECT name FROM products").await?;
    let found: Vec<_> = names.lines().filter_map(product::write_of).collect();
    let kept =
        |key: usize| found.iter().find(|write| write.key == key).map_or(Seen::Absent, |write| Seen::Present(*write));
    Ok((0..LOADED).chain(probe::KEYS).map(|key| stage.shop.history.rewind(key, kept(key), copied)).sum())
}

/// Tries the tokens of the life that is gone, each of which must be refused. Returns how many were.
async fn refuse(stage: &mut Stage, tokens: &[Mark]) -> usize {
    let (mut refused, mut first_other) = (0, None);
    for (mark, replica) in tokens.iter().flat_map(|mark| (0..REPLICAS).map(move |replica| (mark, replica))) {
        let consistency = Some(Consistency::AtLeastAsFresh(mark.token.clone()));
        let read = Some(ReadOptions { consistency, ..ReadOptions::default() });
        let request = GetProductRequest { id: product::id(probe::KEYS.start + 1), read };
        match stage.shop.client(replica).get_product(request).await {
            Err(status) if status.code() == Code::InvalidArgument && status.message().contains("lost or replaced") => {
                refused += 1;
            }
            other => first_other = first_other.or(Some(other)),
        }
    }
    let all = tokens.len() * REPLICAS;
    stage.must(
        refused == all,
        format!("{refused} of {all} tokens of a life that is gone were refused, one was answered by {first_other:?}"),
    );
    refused
}
