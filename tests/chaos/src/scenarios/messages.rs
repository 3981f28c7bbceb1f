//! What comes over the wire from Redis is lost, late or old.

use std::time::Duration;

use larder_test_servers::{Faults, Proxy};
use tokio::time::Instant;

use crate::{
    report::Report,
    stage::{Setup, Stage, wait},
};

/// The length of the server's leases: no replica waits longer for another replica's load.
const LEASE: Duration = Duration::from_secs(3);
/// What looking, and then loading for itself, may take on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

pub(super) async fn messages(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.quiet_stage().await?;
    stage.start_load().await;
    stage.stay_healthy(setup).await;
    let end = Instant::now() + setup.seconds(8, 20);
    let mut cut = 0;
    while Instant::now() < end {
        cut += stage.world.proxies().iter().map(Proxy::cut_subscribers).sum::<usize>();
        wait(Duration::from_secs(2)).await;
    }
    stage.must_keep_its_hits("while subscribers were cut");
    let length = setup.seconds(8, 20);
    for (faults, meanwhile) in [
        (Faults { push_drop: 0.01, ..Faults::default() }, "while one message in a hundred was lost"),
        (Faults { push_drop: 1.0, ..Faults::default() }, "while all messages were lost"),
        (Faults { push_delay: Duration::from_secs(5), ..Faults::default() }, "while messages were 5 s late"),
        (
            Faults { push_duplicate: 0.2, push_swap: 0.2, push_drop: 0.1, ..Faults::default() },
            "while messages were doubled, swapped and lost",
        ),
        (Faults { subscriber_black_hole: true, ..Faults::default() }, "while subscribers heard nothing at all"),
    ] {
        stage.with_faults(faults, length).await;
        stage.must_keep_its_hits(meanwhile);
    }
    stage.stop_load().await;
    let lost: u64 = counted(&stage, |proxy| proxy.counts().pushes_dropped);
    let delayed = counted(&stage, |proxy| proxy.counts().pushes_delayed);
    stage.did(format!("{cut} subscribers cut, {lost} messages lost, {delayed} late"));
    stage.must(cut > 0 && lost > 0 && delayed > 0, "no message was hurt");
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Replicas whose messages are lost, and that look at the change log too rarely.
pub(super) async fn blunder(setup: &Setup) -> anyhow::Result<Report> {
    let rare = ("LARDER_STALENESS_BOUND", "20s".to_owned());
    let mut stage = setup.quiet_stage_with(|plan| plan.replicas.push(rare)).await?;
    stage.world.set_faults(Faults { push_drop: 1.0, ..Faults::default() });
    stage.start_load().await;
    wait(Duration::from_secs(3)).await;
    Ok(stage.end().await)
}

pub(super) async fn replays(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.quiet_stage().await?;
    stage.start_load().await;
    // There must be something to bring up again.
    wait(setup.seconds(5, 60)).await;
    let replay = Faults { replay: 0.1, ..Faults::default() };
    stage.with_faults(replay, setup.seconds(15, 60)).await;
    stage.stop_load().await;
    must_have_replayed(&mut stage);
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

pub(super) async fn only_replays(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.quiet_stage().await?;
    stage.start_load().await;
    wait(setup.seconds(5, 60)).await;
    stage.shop.tally.reset_latencies();
    // The values of leases come up again as well, and no message says what is old.
    let all = Faults { replay: 1.0, replay_age: setup.seconds(2, 30), push_drop: 1.0, ..Faults::default() };
    stage.with_faults(all, setup.seconds(20, 60)).await;
    stage.stop_load().await;
    must_have_replayed(&mut stage);
    let longest = stage.shop.tally.figures().latency.max;
    stage.must_be_quick(longest <= LEASE + SLACK, format!("a read waited for {longest:.1?}, a lease lasts {LEASE:?}"));
    stage.must_be_without_errors();
    Ok(stage.end().await)
}

fn must_have_replayed(stage: &mut Stage) {
    let replayed = counted(stage, |proxy| proxy.counts().replayed);
    stage.did(format!("{replayed} frames replayed"));
    stage.must(replayed > 0, "no frame was replayed");
}

fn counted(stage: &Stage, count: impl Fn(&Proxy) -> u64) -> u64 {
    stage.world.proxies().iter().map(count).sum()
}
