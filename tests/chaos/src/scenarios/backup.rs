//! The database is put back from a copy: what was committed after that never was.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
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

/// How the database is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// By a base backup, made under load.
    BaseBackup,
    /// By a copy of its files, made while it was stopped.
    ColdCopy,
    /// By `pg_restore --clean` of a dump, made under load, into the database as it runs.
    Dump,
}

/// A copy of the database.
struct Copy {
    kind: Kind,
    path: PathBuf,
    /// When it was complete.
    at: Duration,
}

pub(super) async fn put_back(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = stage(setup).await?;
    let (times, mut lost, mut refused) = (setup.count(1, 3), 0, 0);
    for _ in 0..times {
        let undone = round(&mut stage, Kind::BaseBackup, false, setup.seconds(5, 20)).await?;
        (lost, refused) = (lost + undone.0, refused + undone.1);
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

/// Every kind, while the replicas run and while all of them are stopped, with Redis as it was.
pub(super) async fn lives(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = stage(setup).await?;
    let (mut lost, mut refused) = (0, 0);
    for kind in [Kind::BaseBackup, Kind::ColdCopy, Kind::Dump] {
        for stopped in [false, true] {
            let undone = round(&mut stage, kind, stopped, setup.seconds(2, 15)).await?;
            stage.note(format!(
                "{kind:?}, replicas {}: {} lost",
                if stopped { "stopped" } else { "running" },
                undone.0
            ));
            (lost, refused) = (lost + undone.0, refused + undone.1);
        }
    }
    stage.start_load().await;
    wait(setup.seconds(2, 15)).await;
    stage.stop_load().await;
    stage.did(format!("put back 6 times, {lost} writes lost, {refused} tokens of them refused"));
    Ok(stage.end().await)
}

async fn stage(setup: &Setup) -> anyhow::Result<Stage> {
    let wal = ("wal_level".to_owned(), "replica".to_owned());
    setup.stage_with(|plan| plan.postgres.push(wal)).await
}

/// Puts the database back once, and checks what it had then. Returns how many writes were lost, and how many tokens of them
/// refused.
async fn round(stage: &mut Stage, kind: Kind, stopped: bool, lived: Duration) -> anyhow::Result<(usize, usize)> {
    let copy = if kind == Kind::ColdCopy {
        // Nobody writes while the database is stopped.
        let copy = copy(stage, kind).await;
        back(stage).await?;
        stage.start_load().await;
        copy
    } else {
        stage.start_load().await;
        copy(stage, kind).await
    };
    wait(lived).await;
    stage.stop_load().await;
    if kind == Kind::BaseBackup && !stopped {
        stage.must_keep_its_rate();
    }
    let tokens = write_more(stage).await?;
    let at = copy.at;
    if stopped {
        for replica in stage.world.replicas() {
            tokio::task::block_in_place(|| replica.kill());
        }
    }
    restore(stage, copy).await;
    if stopped {
        for replica in stage.world.replicas() {
            replica.restart().await.map_err(|log| anyhow!("a replica did not start again:\n{log}"))?;
        }
    }
    back(stage).await?;
    stage.shop.history.forget_tokens();
    let undone = rewind(stage, at).await?;
    stage.shop.forget_heads().await;
    let refused = refuse(stage, &tokens).await;
    for _ in 0..3 {
        for (key, replica) in everything().chain(probes()) {
            stage.shop.get(key, replica, None).await;
        }
    }
    stage.must(undone > probe::KEYS.len(), format!("the database lost {undone} writes, so that little was tested"));
    Ok((undone, refused))
}

async fn copy(stage: &Stage, kind: Kind) -> Copy {
    let postgres = &stage.world.postgres;
    let path = match kind {
        Kind::BaseBackup => postgres.base_backup().await,
        Kind::ColdCopy => postgres.cold_copy().await,
        Kind::Dump => postgres.dump(&stage.world.url()).await,
    };
    Copy { kind, path, at: stage.shop.now() }
}

async fn restore(stage: &Stage, copy: Copy) {
    let postgres = &stage.world.postgres;
    match copy.kind {
        Kind::BaseBackup | Kind::ColdCopy => postgres.restore(copy.path).await,
        Kind::Dump => {
            let options = &["--clean", "--if-exists", "--single-transaction"];
            postgres.restore_dump(&copy.path, &stage.world.url(), options).await;
        }
    }
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
