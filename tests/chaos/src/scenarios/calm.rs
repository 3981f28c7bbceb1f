//! What must hold while nothing is broken.

use std::time::Duration;

use larder_test_servers::Faults;

use crate::{
    learned::Learned,
    probe,
    product::GROUP,
    report::Report,
    shop::{Change, Page},
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// When a write is seen elsewhere, on one healthy machine.
pub(super) const SEEN_P99: Duration = Duration::from_millis(10);
pub(super) const SEEN_MAX: Duration = Duration::from_millis(50);
/// The writer of what is read with a token. It writes in the group of the probes.
const WRITER: u32 = 200;

pub(super) async fn calm(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    // The load has created its products at once, which took longer than anything later.
    let before = Learned::read(stage.world.http_addresses()).await?;
    probe::writes(&stage.shop, setup.seconds(20, 60)).await?;
    let learned = Learned::read(stage.world.http_addresses()).await?.since(&before);
    stage.stop_load().await;
    compare(&mut stage, &learned);
    let seen = stage.shop.tally.figures().delay;
    stage.did(format!("{} writes watched", seen.count / 2));
    stage.must_be_quick(seen.p99 < SEEN_P99, format!("p99 of a write seen elsewhere: {:?}", seen.p99));
    stage.must_be_quick(seen.max <= SEEN_MAX, format!("a write seen elsewhere after {:?}", seen.max));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Compares what the replicas say of the time from commit to learned with what was seen from outside, where the commit lies
/// somewhere between the begin of a write and its acknowledgement.
fn compare(stage: &mut Stage, learned: &Learned) {
    let (acknowledged, begun) = (stage.shop.tally.figures().delay, stage.shop.tally.journeys());
    stage.must(learned.count() > 0, "no replica has learned of a change from another");
    for (percent, earliest, latest) in [(50, acknowledged.p50, begun.p50), (99, acknowledged.p99, begun.p99)] {
        let bound = learned.quantile(percent);
        let text = format!(
            "p{percent} from commit to learned at most {bound:.1?} by the metrics, {earliest:.1?} to {latest:.1?} from outside"
        );
        stage.must_be_quick(learned.agrees(percent, earliest, latest), &text);
        stage.note(text);
    }
}

/// A little of everything, in a debug build, beside other tests: it says nothing about how fast anything is.
pub(super) async fn smoke(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    wait(Duration::from_secs(2)).await;
    stage.with_faults(Faults { push_drop: 1.0, replay: 0.1, ..Faults::default() }, Duration::from_secs(4)).await;
    stage.world.redis.cli(&["FLUSHALL"]).await;
    wait(Duration::from_secs(1)).await;
    stage.world.redis.restart().await;
    wait(Duration::from_secs(2)).await;
    stage.stop_load().await;
    stage.must_be_without_errors();
    Ok(stage.end().await)
}

pub(super) async fn tokens(setup: &Setup) -> anyhow::Result<Report> {
    let stage = setup.stage().await?;
    let (shop, group) = (&stage.shop, probe::KEYS.start / GROUP);
    let (mut missed, count) = (0, setup.count(1_500, 10_000));
    for number in 0..count {
        let key = probe::KEYS.start + number % probe::KEYS.len();
        let (from, to) = (number % REPLICAS, (number + 1 + number / REPLICAS % 2) % REPLICAS);
        // One in ten takes something away.
        let change = if number % 10 == 9 { Change::Delete } else { Change::Put };
        let write = shop.write(key, from, WRITER, change).await?;
        let mark = shop.history.mark(write);
        let seen = match number / REPLICAS % 4 {
            0 => shop.get(key, to, mark).await,
            call => {
                let page = [Page::Batch, Page::List, Page::Search][call - 1];
                let all = shop.page(page, group, to, mark).await.unwrap_or_default();
                all.into_iter().find(|(other, _)| *other == key).map(|(_, seen)| seen)
            }
        };
        missed += u64::from(seen != Some(shop.history.left_by(write)));
    }
    let mut stage = stage;
    stage.did(format!("{count} writes read elsewhere with their token"));
    stage.must(missed == 0, format!("{missed} reads with a token did not show its write"));
    stage.must_be_without_errors();
    Ok(stage.end().await)
}
