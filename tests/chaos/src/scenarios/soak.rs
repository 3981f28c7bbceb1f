//! Faults of every kind, drawn by chance, for as long as one likes: nothing wrong is read, nothing acknowledged is lost, and the replicas
//! use no more at the end than at the beginning.

mod drift;
mod fault;

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng as _, rngs::SmallRng};

use self::{drift::Drift, fault::Fault};
use super::replicas::everything;
use crate::{
    history::Read,
    product::{id, seen},
    report::Report,
    stage::{Setup, Stage, wait},
};

/// How long a fault lasts, and how long the cluster has to recover, in milliseconds.
const LASTS: std::ops::Range<u64> = 1_000..8_000;
const RECOVERS: std::ops::Range<u64> = 1_000..5_000;

/// Soaks a cluster.
pub(crate) async fn soak(setup: &Setup, length: Duration) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    let mut faults = fault::Faults::prepare(&stage).await?;
    stage.start_load().await;
    let mut drift = Drift::default();
    let (begin, mut rng) = (Instant::now(), SmallRng::seed_from_u64(setup.seed));
    let mut counts = [0_u64; Fault::ALL.len()];
    while begin.elapsed() < length {
        let number = rng.random_range(0..Fault::ALL.len());
        let fault = Fault::ALL[number];
        counts[number] += 1;
        let lasts = Duration::from_millis(rng.random_range(LASTS));
        let replica = rng.random_range(0..crate::world::REPLICAS);
        let before = stage.shop.tally.figures();
        faults.play(&mut stage, fault, replica, lasts).await?;
        wait(Duration::from_millis(rng.random_range(RECOVERS))).await;
        drift.look(&stage).await;
        let now = stage.shop.tally.figures();
        let (minutes, errors, wrong) =
            (begin.elapsed().as_secs_f64() / 60.0, now.errors() - before.errors(), now.wrong);
        println!(
            "  {minutes:6.1} min: {fault:?} for {:.1} s, {errors} errors, {wrong} wrong so far",
            lasts.as_secs_f64()
        );
    }
    stage.stop_load().await;
    nothing_is_lost(&mut stage).await?;
    for (fault, count) in Fault::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
        stage.did(format!("{count} × {fault:?}"));
    }
    drift.judge(&mut stage);
    Ok(stage.end().await)
}

/// Reads every key from the database itself and from every replica, long enough after the last write for all of them to show it.
async fn nothing_is_lost(stage: &mut Stage) -> anyhow::Result<()> {
    super::database::back(stage).await?;
    wait(2 * stage.shop.history.bound()).await;
    let before = stage.shop.tally.figures().wrong;
    let mut session = stage.world.psql().await?;
    for key in 0..crate::product::LOADED {
        let begin = stage.shop.now();
        let name = session.run(&format!("SELECT name FROM products WHERE id = '{}'", id(key))).await?;
        let seen = match name.as_str() {
            "" => seen(None),
            name => crate::product::write_of(name).map_or_else(|| seen(None), crate::history::Seen::Present),
        };
        let end = stage.shop.now();
        stage.shop.check(&Read { key, replica: 0, call: "database", begin, end, seen, stale: false, mark: None });
    }
    let lost = stage.shop.tally.figures().wrong - before;
    for (key, replica) in everything() {
        stage.shop.get(key, replica, None).await;
    }
    stage.note(format!("{lost} writes lost"));
    stage.must(lost == 0, format!("{lost} acknowledged writes are not in the database"));
    Ok(())
}
