//! Replicas that are cut off or stopped.

use std::{sync::Arc, time::Duration};

use larder_test_servers::{Faults, Passage};
use tokio::task::JoinSet;

use super::database::back;
use crate::{
    figures::Percentiles,
    probe, product,
    report::Report,
    stage::{Setup, wait},
    world::REPLICAS,
};

/// Which replica loses Redis, and which the database.
const WITHOUT_REDIS: usize = 0;
const WITHOUT_DATABASE: usize = 1;
const ALL: [usize; REPLICAS] = [0, 1, 2];
/// How many call a stopped replica.
const LATE: usize = 20;
/// What a stopped replica may cost the callers of the others.
const ELSEWHERE: Duration = Duration::from_millis(50);

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

    // Who waits for a replica without a database asks nobody else meanwhile.
    stage.must_keep_its_rate();

    stage.world.set_database(WITHOUT_DATABASE, Passage::Silent);
    wait(length).await;
    stage.world.set_database(WITHOUT_DATABASE, Passage::Closed);
    wait(length).await;
    let second = stage.shop.tally.figures();
    stage.world.set_database(WITHOUT_DATABASE, Passage::Open);
    back(&stage).await?;
    stage.shop.ended_before(stage.shop.now()).await;
    let healed = stage.shop.tally.figures();
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    let end = stage.shop.tally.figures();
    stage.must(second.stale > 0, "the replica without a database served nothing that was marked stale");
    let elsewhere = |errors: [u64; REPLICAS]| errors.iter().sum::<u64>() - errors[WITHOUT_DATABASE];
    let (reads, writes) = (elsewhere(end.read_errors), elsewhere(end.write_errors));
    stage.must(reads == 0, format!("{reads} reads failed on replicas that had their database"));
    stage.did(format!("each cut off for {:?}", 2 * length));
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
    let (times, pause, mut waited) = (setup.count(2, 6), setup.seconds(5, 5), Vec::new());
    let mut elsewhere = Percentiles::default();
    for number in 0..times {
        let paused = number % REPLICAS;
        let others = probe::others(paused);
        // A balancer would do so; a few go to it all the same and are answered late.
        stage.aim(&others);
        stage.shop.tally.reset_latencies();
        stage.world.replicas()[paused].pause();
        let mut late = JoinSet::new();
        for key in 0..LATE {
            let shop = Arc::clone(&stage.shop);
            late.spawn(async move { shop.get(key, paused, None).await });
        }
        wait(pause).await;
        let seen = stage.shop.tally.latency_of(&others);
        elsewhere = if seen.p99 > elsewhere.p99 { seen } else { elsewhere };
        waited.push(late.len());
        stage.world.replicas()[paused].resume();
        stage.aim(&ALL);
        late.join_all().await;
        wait(Duration::from_secs(3)).await;
    }
    stage.stop_load().await;
    stage.did(format!("a replica stopped for {pause:?} {times} times"));
    stage.note(format!("reads elsewhere meanwhile: p99 {:.1?}, max {:.1?}", elsewhere.p99, elsewhere.max));
    stage.must_be_quick(
        elsewhere.p99 < ELSEWHERE,
        format!("p99 of reads elsewhere, while a replica was stopped: {:?}", elsewhere.p99),
    );
    let waiting = waited.iter().all(|waiting| *waiting == LATE);
    stage.must(waiting, format!("calls of stopped replicas that waited: {waited:?} rather than {LATE}"));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// The keys of the load, which every replica may have copies of.
pub(super) fn everything() -> impl Iterator<Item = (usize, usize)> {
    (0..product::LOADED).flat_map(|key| (0..REPLICAS).map(move |replica| (key, replica)))
}
