//! Redis forgets, refuses, dies or hangs.

use std::time::Duration;

use larder_test_servers::TempDir;
use tokio::time::{Instant, sleep_until};

use crate::{
    connections::{CAP, Connections},
    figures::Percentiles,
    report::Report,
    stage::{Setup, Stage, wait},
    world::REPLICAS,
};

/// The server's default for `LARDER_L2_COMMAND_TIMEOUT`.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(100);
/// What a read may take besides that, on a busy machine.
const SLACK: Duration = Duration::from_millis(50);
/// How soon every replica leaves a Redis alone that does not answer.
const OPEN: Duration = Duration::from_secs(1);

pub(super) async fn troubles(setup: &Setup) -> anyhow::Result<Report> {
    let files = TempDir::new("chaos-redis");
    let dir = format!("\"{}\"", files.path().display());
    let mut stage = setup.quiet_stage_with(|plan| plan.redis.push(("dir".to_owned(), dir))).await?;
    stage.start_load().await;
    let length = setup.seconds(8, 20);
    let (end, mut emptied) = (Instant::now() + setup.seconds(12, 60), 0);
    while Instant::now() < end {
        stage.world.redis.cli(&["FLUSHALL"]).await;
        stage.world.redis.cli(&["SCRIPT", "FLUSH"]).await;
        emptied += 1;
        wait(setup.seconds(2, 5)).await;
    }
    let redis = &stage.world.redis;
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let full = refuses(&stage, "OOM").await;
    wait(length).await;
    let redis = &stage.world.redis;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    wait(Duration::from_secs(2)).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let read_only = refuses(&stage, "READONLY").await;
    wait(length).await;
    let redis = &stage.world.redis;
    redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
    wait(Duration::from_secs(2)).await;
    // Without its directory it cannot save, and with a schedule for saving it then refuses to write.
    redis.cli(&["CONFIG", "SET", "save", "3600 1000000"]).await;
    std::fs::remove_dir_all(files.path())?;
    redis.cli(&["BGSAVE"]).await;
    let unsaved = refuses(&stage, "MISCONF").await;
    wait(length).await;
    stage.world.redis.cli(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
    wait(Duration::from_secs(2)).await;
    stage.stop_load().await;
    stage.did(format!("emptied {emptied} times, full, read-only and unable to save for {length:?} each"));
    for (refused, what) in [(full, "full"), (read_only, "read-only"), (unsaved, "unable to save")] {
        stage.must(refused, format!("Redis was not {what}"));
    }
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

pub(super) async fn restarts(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.quiet_stage().await?;
    stage.start_load().await;
    let connections = Connections::watch(&stage.world).await?;
    stage.stay_healthy(setup).await;
    let old = stage.world.redis.save_copy().await;
    let (times, down) = (setup.count(4, 10), setup.seconds(8, 30));
    for number in 0..times {
        let redis = &stage.world.redis;
        redis.kill();
        wait(Duration::from_millis(500)).await;
        match number % 2 {
            0 => redis.restart().await,
            _ => redis.restart_with(&old).await,
        }
        wait(setup.seconds(2, 5)).await;
    }
    stage.must_keep_its_hits("while Redis was killed again and again");
    stage.world.redis.kill();
    wait(down).await;
    stage.must_keep_its_hits("while Redis was down");
    stage.world.redis.restart_with(&old).await;
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    let most = connections.most().await?;
    stage.did(format!("{times} restarts, {down:?} down"));
    stage.note(format!("connections to the database at most {most:?}"));
    let kept = most.iter().all(|most| (1..=CAP).contains(most));
    stage.must(kept, format!("{most:?} connections to the database rather than at most {CAP} each"));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

pub(super) async fn paused(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    stage.shop.tally.reset_latencies();
    stage.world.redis.pause();
    let (begin, length) = (Instant::now(), setup.seconds(10, 20));
    let mut open = [false; REPLICAS];
    while open != [true; REPLICAS] && begin.elapsed() < OPEN {
        wait(Duration::from_millis(10)).await;
        open = std::array::from_fn(|replica| stage.world.has_logged(replica, "commands time out"));
    }
    let opened = begin.elapsed();
    sleep_until(begin + OPEN).await;
    let early = stage.shop.tally.latencies();
    sleep_until(begin + length).await;
    let all = stage.shop.tally.latencies();
    let (first, whole) = (Percentiles::of(&early), Percentiles::of(&all));
    let then = Percentiles::since(all, &early);
    stage.world.redis.resume();
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    stage.did(format!("Redis paused for {length:?}"));
    stage.note(format!(
        "breakers open after {opened:.1?}, reads in the first second: p99 {:.1?}, max {:.1?}; then: p99 {:.1?}, max {:.1?}",
        first.p99, first.max, then.p99, then.max
    ));
    stage.must_be_quick(open == [true; REPLICAS], format!("breakers open within {OPEN:?}: {open:?}"));
    stage.must_be_quick(whole.p99 <= COMMAND_TIMEOUT, format!("p99 of reads while paused: {:?}", whole.p99));
    // A read that waits for Redis once, and loads then, takes a little more than what it waits.
    let bound = COMMAND_TIMEOUT + SLACK;
    stage.must_be_quick(first.p99 <= bound, format!("p99 of reads in the first second: {:?}", first.p99));
    stage.must_be_quick(
        then.p99 < COMMAND_TIMEOUT / 2,
        format!("p99 of reads from the first second on: {:?}", then.p99),
    );
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Whether Redis refuses to write for this reason, soon.
async fn refuses(stage: &Stage, reason: &str) -> bool {
    for _ in 0..100 {
        let refused = stage.world.redis.try_cli(&["SET", "larder-chaos", &"x".repeat(1_000)]).await;
        if refused.is_err_and(|error| error.starts_with(reason)) {
            return true;
        }
        wait(Duration::from_millis(50)).await;
    }
    false
}
