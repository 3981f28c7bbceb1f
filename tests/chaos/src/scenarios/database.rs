//! The database ends, and comes back with or without everything that it had.

use std::time::Duration;

use anyhow::{bail, ensure};
use larder_proto::catalog::GetProductRequest;
use tokio::process::Command;

use super::replicas::everything;
use crate::{
    history::Seen,
    probe,
    product::{self, seen},
    psql::Psql,
    report::Report,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

const WRITER: u32 = 400;
/// How long replicas may take to find the database again.
const BACK: Duration = Duration::from_secs(30);

pub(super) async fn restarts(setup: &Setup) -> anyhow::Result<Report> {
    // What is not written at once stays unwritten for a while.
    let unwritten = [("wal_writer_delay", "10s"), ("autovacuum_naptime", "1h")];
    let unwritten = unwritten.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut stage = setup.stage_with(|plan| plan.postgres.extend(unwritten)).await?;
    stage.start_load().await;
    wait(Duration::from_secs(2)).await;
    for killed in [false, true] {
        if killed {
            stage.world.postgres.kill();
            wait(setup.seconds(2, 5)).await;
        }
        stage.world.postgres.restart().await;
        back(&stage).await?;
        if killed {
            stage.shop.history.forget_tokens();
        }
        // What is under way with an old token ends.
        stage.shop.ended_before(stage.shop.now()).await;
        let mended = stage.shop.tally.figures();
        wait(Duration::from_secs(3)).await;
        let end = stage.shop.tally.figures();
        stage.note(format!("{} errors, {} stale", end.errors(), end.stale));
        stage.must(
            (end.errors(), end.stale) == (mended.errors(), mended.stale),
            format!("errors and stale replies went on after the database was back (killed: {killed})"),
        );
    }
    // A commit that is flushed takes those before it along: from here on nobody else writes.
    stage.stop_load().await;
    stage.must_keep_its_rate();
    let mut lost = 0;
    let kills = setup.count(3, 8);
    for _ in 0..kills {
        lost += lose(&mut stage).await?;
    }
    stage.did(format!("restarted, killed {} times, {lost} commits lost", 1 + kills));
    stage.must(lost > 0, "the database lost nothing, so that nothing was tested");
    Ok(stage.end().await)
}

/// Commits without a flush, has every replica serve that, and kills the database. Returns how many commits it lost, each
/// of which must not be seen any more.
async fn lose(stage: &mut Stage) -> anyhow::Result<usize> {
    let mut session = stage.world.psql().await?;
    keep_off_disk(&mut session).await?;
    session.run("SET synchronous_commit = off").await?;
    let mut writes = Vec::new();
    for key in probe::KEYS {
        let write = stage.shop.history.begin(key, WRITER, true, stage.shop.now());
        session.run(&product::update(write)).await?;
        stage.shop.history.acknowledge(write, None, stage.shop.now());
        writes.push(write);
    }
    for write in &writes {
        for replica in 0..REPLICAS {
            probe::until_seen(&stage.shop, *write, replica).await?;
        }
    }
    stage.world.postgres.kill();
    stage.world.postgres.restart().await;
    back(stage).await?;
    let mut session = stage.world.psql().await?;
    let mut lost = 0;
    for write in writes {
        let name = session.run(&format!("SELECT name FROM products WHERE id = '{}'", product::id(write.key))).await?;
        if name != product::name(write) {
            stage.shop.history.refuse(write);
            lost += 1;
        }
    }
    for _ in 0..20 {
        for key in probe::KEYS {
            for replica in 0..REPLICAS {
                stage.shop.get(key, replica, None).await;
            }
        }
        wait(Duration::from_millis(50)).await;
    }
    for (key, replica) in everything() {
        stage.shop.get(key, replica, None).await;
    }
    Ok(lost)
}

/// Stops the process that writes what no commit waits for, so that it stays in memory however long the machine takes.
async fn keep_off_disk(session: &mut Psql) -> anyhow::Result<()> {
    let writer = session.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").await?;
    let stopped = Command::new("sh").args(["-c", "kill -s STOP \"$0\"", &writer]).status().await?;
    ensure!(stopped.success(), "the process {writer} cannot be stopped");
    Ok(())
}

/// Waits until every replica has looked at the database since it came back: nothing that was proven before is left, and
/// what is served is not stale.
pub(super) async fn back(stage: &Stage) -> anyhow::Result<()> {
    let begin = stage.shop.now();
    wait(stage.shop.history.bound()).await;
    for replica in 0..REPLICAS {
        let mut client = stage.shop.client(replica);
        loop {
            let request = GetProductRequest { id: product::id(probe::KEYS.start), read: None };
            if let Ok(reply) = client.get_product(request).await {
                let reply = reply.into_inner();
                if reply.cache.is_some_and(|info| !info.stale) && seen(reply.product.as_ref()) != Seen::Absent {
                    break;
                }
            }
            if stage.shop.now() > begin + BACK {
                bail!("replica {} did not find the database again within {BACK:?}", replica + 1);
            }
            wait(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}
