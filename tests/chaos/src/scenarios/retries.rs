//! Replicas that end and come back, under clients that retry as the shipped service config says.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::block_in_place;

use crate::{
    figures::Tiers,
    report::Report,
    retry::Counts,
    shop::Calling,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// How long a replica is away, and how long the clients have it back before the next one goes.
const AWAY: Duration = Duration::from_millis(500);
const BACK: Duration = Duration::from_millis(1_500);
/// Of what memory did not have, Redis may have by so many points less than while nothing was broken.
const POINTS: f64 = 10.0;

pub(super) async fn killed(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage_with(|plan| plan.calls = Calling::Balanced).await?;
    stage.start_load().await;
    let times = setup.count(20, 20);
    for number in 0..times {
        let replica = &stage.world.replicas()[number % REPLICAS];
        block_in_place(|| replica.kill());
        wait(AWAY).await;
        replica.restart().await.map_err(|log| anyhow!("the replica did not start again:\n{log}"))?;
        wait(BACK).await;
    }
    stage.stop_load().await;
    stage.did(format!("{times} times a replica killed (kill -9)"));
    judge(&mut stage)?;
    Ok(stage.end().await)
}

pub(super) async fn rolling_restart(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage_with(|plan| plan.calls = Calling::Balanced).await?;
    stage.start_load().await;
    let before = stage.shop.tally.tiers();
    wait(setup.seconds(10, 20)).await;
    let (healthy, begun) = (stage.shop.tally.tiers().since(before), stage.shop.tally.tiers());
    let (times, calls) = (setup.count(10, 10), setup.count(20_000, 100_000));
    let mut rounds = 0;
    while rounds < times || stage.shop.tally.figures().requests < calls {
        for number in 0..REPLICAS {
            let replica = &stage.world.replicas()[number];
            let ended = replica.end().await;
            let restarted = replica.restart().await;
            restarted.map_err(|log| anyhow!("the replica did not start again:\n{log}"))?;
            stage.must(ended, format!("replica {} did not end by itself", number + 1));
            wait(BACK).await;
        }
        rounds += 1;
    }
    let meanwhile = stage.shop.tally.tiers().since(begun);
    stage.stop_load().await;
    stage.did(format!("{rounds} times all replicas restarted one after the other"));
    let [calm, restarted] = [healthy, meanwhile].map(Tiers::percent_of_l2);
    stage.note(format!("Redis had {calm:.1}% of what memory did not have before, and {restarted:.1}% meanwhile"));
    stage.must_be_quick(restarted >= calm - POINTS, "Redis did not stay warm");
    judge(&mut stage)?;
    Ok(stage.end().await)
}

/// No call may have failed, and the retries must have had a budget.
fn judge(stage: &mut Stage) -> anyhow::Result<()> {
    let Counts { retried, throttled } = stage.shop.balanced().context("a client of all replicas")?.counts();
    stage.note(format!("{retried} retries"));
    stage.must(throttled == 0, format!("{throttled} calls found the budget of retries spent"));
    stage.must(retried > 0, "no call had to be made again, so that nothing was tried");
    stage.must_be_without_errors();
    Ok(())
}
