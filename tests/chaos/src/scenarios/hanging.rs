//! The database hangs in part: behind a lock, in commits, on connections that the network forgot.

use std::time::Duration;

use larder_proto::catalog::{Product, UpdateProductRequest};
use tokio::task::JoinSet;

use super::database::back;
use crate::{
    figures::Figures,
    probe,
    report::Report,
    shop::Client,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// A product that nobody reads, and everybody is stuck on.
const HELD: &str = "held";
/// As many at each replica as would take every connection of its pool.
const STUCK: usize = 12;
/// How long replicas may take to write again.
const BACK: Duration = Duration::from_secs(30);

pub(super) async fn database(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup
        .stage_with(|plan| {
            plan.replicas.push(("LARDER_DATABASE_STATEMENT_TIMEOUT", "4s".to_owned()));
        })
        .await?;
    let mut session = stage.world.psql().await?;
    session.run(&format!("INSERT INTO products (id, name) VALUES ('{HELD}', 'held')")).await?;
    stage.start_load().await;
    let length = setup.seconds(6, 30);

    let before = stage.shop.tally.figures();
    session.run(&format!("BEGIN; UPDATE products SET name = 'locked' WHERE id = '{HELD}'")).await?;
    let stuck = get_stuck(&stage);
    wait(length).await;
    must_have_read_on(&mut stage, before, "a row was locked").await;
    session.run("ROLLBACK").await?;
    drop(stuck);
    writes_again(&stage).await?;

    let before = stage.shop.tally.figures();
    wait_for_standby(&stage, "away").await;
    let stuck = get_stuck(&stage);
    wait(length).await;
    must_have_read_on(&mut stage, before, "commits hung").await;
    let waiting = session.run("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await?;
    stage.must(waiting.parse().unwrap_or(0) > 0, "no commit hung, so that nothing was tested");
    stage.note(format!("{waiting} commits hung"));
    wait_for_standby(&stage, "").await;
    drop(stuck);
    writes_again(&stage).await?;

    let before = stage.shop.tally.figures();
    let forgotten: usize = stage.world.gates().iter().map(larder_test_servers::Gate::forget_all).sum();
    wait(length).await;
    must_have_read_on(&mut stage, before, "old connections were forgotten").await;
    writes_again(&stage).await?;
    back(&stage).await?;
    stage.stop_load().await;
    stage.must_keep_its_rate();
    stage.did(format!("a row locked, commits hanging, {forgotten} connections forgotten, {length:?} each"));
    Ok(stage.end().await)
}

/// Has writers at every replica that get nowhere, until they are dropped.
fn get_stuck(stage: &Stage) -> JoinSet<()> {
    let mut stuck = JoinSet::new();
    for replica in 0..REPLICAS {
        for _ in 0..STUCK {
            let mut client: Client = stage.shop.client(replica);
            stuck.spawn(async move {
                loop {
                    let held = Product { id: HELD.to_owned(), name: "written".to_owned(), ..Product::default() };
                    let request = UpdateProductRequest { product: Some(held), ..UpdateProductRequest::default() };
                    if client.update_product(request).await.is_ok() {
                        wait(Duration::from_millis(10)).await;
                    }
                }
            });
        }
    }
    stuck
}

/// Every read since then must have been answered, and none of them stale.
pub(super) async fn must_have_read_on(stage: &mut Stage, before: Figures, meanwhile: &str) {
    // What began meanwhile counts as well.
    stage.shop.ended_before(stage.shop.now()).await;
    let now = stage.shop.tally.figures();
    let errors = |figures: &Figures| figures.read_errors.iter().sum::<u64>();
    let (failed, old) = (errors(&now) - errors(&before), now.stale - before.stale);
    stage.must(now.reads > before.reads, format!("nothing was read while {meanwhile}"));
    stage.must(failed == 0, format!("{failed} reads failed while {meanwhile}"));
    stage.must_be_quick(old == 0, format!("{old} replies were stale while {meanwhile}"));
    stage.note(format!("{} reads while {meanwhile}, {failed} failed, {old} stale", now.reads - before.reads));
}

/// With the name of a standby that there is none of, commits wait; with none they do not.
async fn wait_for_standby(stage: &Stage, name: &str) {
    let postgres = &stage.world.postgres;
    postgres.psql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await;
    postgres.psql("postgres", "SELECT pg_reload_conf()").await;
}

/// Waits until every replica writes, and all of them see it.
async fn writes_again(stage: &Stage) -> anyhow::Result<()> {
    let begin = stage.shop.now();
    for replica in 0..REPLICAS {
        let write = loop {
            match stage.shop.write(probe::KEYS.start, replica, 0, crate::shop::Change::Put).await {
                Ok(write) => break write,
                Err(status) if stage.shop.now() > begin + BACK => {
                    anyhow::bail!("replica {} does not write within {BACK:?}: {status}", replica + 1)
                }
                Err(_) => wait(Duration::from_millis(50)).await,
            }
        };
        for elsewhere in 0..REPLICAS {
            probe::until_seen(&stage.shop, write, elsewhere).await?;
        }
    }
    Ok(())
}
