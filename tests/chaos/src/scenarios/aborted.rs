//! Writers that die between their commit and their message.

use std::{ops::Range, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::time::timeout;

use crate::{
    history::Write,
    probe,
    product::LOADED,
    report::Report,
    shop::Change,
    stage::{Setup, Stage, wait},
};

/// The replica that dies. The load calls the others.
const VICTIM: usize = 0;
const OTHERS: [usize; 2] = [1, 2];
const KEYS: Range<usize> = LOADED + 40..LOADED + 60;
const WRITER: u32 = 500;
/// How long a write may take until its message.
const LIMIT: Duration = Duration::from_secs(10);
/// Writers that told after all, because the machine let whoever kills them wait.
const SURVIVORS: usize = 20;

pub(super) async fn writers(setup: &Setup) -> anyhow::Result<Report> {
    // No notification of the database hides that nobody was told.
    let mut stage = setup.quiet_stage().await?;
    for key in KEYS {
        stage.shop.write(key, OTHERS[0], WRITER, Change::Put).await?;
    }
    stage.start_load().await;
    stage.aim(&OTHERS);
    stage.shop.ended_before(stage.shop.now()).await;
    let (times, mut aborted, mut survived) = (setup.count(20, 200), 0, 0);
    while aborted < times && survived < SURVIVORS {
        let change = if aborted % 10 == 9 { Change::Delete } else { Change::Put };
        let died = abort(&stage, KEYS.start + aborted % KEYS.len(), change).await?;
        *(if died.is_some() { &mut aborted } else { &mut survived }) += 1;
        let replica = &stage.world.replicas()[VICTIM];
        replica.restart().await.map_err(|log| anyhow!("the replica did not start again:\n{log}"))?;
        // Its clients find it again.
        while stage.shop.get(KEYS.start, VICTIM, None).await.is_none() {
            wait(Duration::from_millis(10)).await;
        }
        if let Some(write) = died {
            let again = stage.shop.get(write.key, VICTIM, None).await;
            let shown = again == Some(stage.shop.history.left_by(write));
            stage.must(shown, format!("the replica that was started again shows {again:?} after {write:?}"));
        }
    }
    stage.stop_load().await;
    let figures = stage.shop.tally.figures();
    stage.did(format!("{aborted} writers killed between commit and message"));
    stage.note(format!("{survived} survived"));
    stage.must(aborted == times, format!("{aborted} writers rather than {times} were killed in time"));
    // Every read was judged: one that began after the bound and did not show the change is a wrong one. How long it takes until a
    // read begins that shows it depends on how often the machine lets the probe read.
    let errors: u64 = OTHERS.iter().map(|other| figures.read_errors[*other] + figures.write_errors[*other]).sum();
    stage.must(errors == 0, format!("{errors} calls of replicas that lived failed"));
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Has the replica write, kills it when its message is on the way, which so nobody gets, and waits until the others show
/// the change. Returns the write if the replica died in time.
async fn abort(stage: &Stage, key: usize, change: Change) -> anyhow::Result<Option<Write>> {
    let (shop, world) = (&stage.shop, &stage.world);
    for other in OTHERS {
        shop.get(key, other, None).await;
    }
    let message = world.proxies()[VICTIM].catch_publish();
    let killed = async {
        let caught = timeout(LIMIT, message.caught()).await;
        let committed = shop.now();
        tokio::task::block_in_place(|| world.replicas()[VICTIM].kill());
        (caught == Ok(true)).then_some(committed)
    };
    let write =
        shop.write_unanswered(key, VICTIM, WRITER, change, killed).await.context("a write that is not answered")?;
    if let Some(write) = write {
        probe::watch(shop, write, &OTHERS).await?;
    }
    Ok(write)
}
