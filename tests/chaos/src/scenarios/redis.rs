//! Redis forgets, refuses, dies or hangs.

use std::time::Duration;

use larder_test_servers::TempDir;
use tokio::time::Instant;

use crate::stage::{Report, Setup, Stage, wait};

/// The server's default for `LARDER_L2_COMMAND_TIMEOUT`.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(100);

pub(super) async fn troubles(setup: &Setup) -> anyhow::Result<Report> {
    let files = TempDir::new("chaos-redis");
    let dir = format!("\"{}\"", files.path().display());
    let mut stage = setup.quiet_stage_with(|plan| plan.redis.push(("dir".to_owned(), dir))).await?;
    stage.start_load().await;
    let length = setup.seconds(8, 20);
    let end = Instant::now() + setup.seconds(12, 60);
    while Instant::now() < end {
        stage.world.redis.cli(&["FLUSHALL"]).await;
        stage.world.redis.cli(&["SCRIPT", "FLUSH"]).await;
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
    let redis = &stage.world.redis;
    wait(Duration::from_secs(2)).await;
    let old = redis.save_copy().await;
    for number in 0..setup.count(4, 10) {
        redis.kill();
        wait(Duration::from_millis(500)).await;
        match number % 2 {
            0 => redis.restart().await,
            _ => redis.restart_with(&old).await,
        }
        wait(setup.seconds(2, 5)).await;
    }
    redis.kill();
    wait(setup.seconds(8, 30)).await;
    redis.restart_with(&old).await;
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

pub(super) async fn paused(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    stage.start_load().await;
    stage.world.redis.pause();
    wait(setup.seconds(10, 20)).await;
    let during = stage.shop.tally.figures().latency;
    stage.world.redis.resume();
    wait(Duration::from_secs(3)).await;
    stage.stop_load().await;
    stage.note(format!("reads while paused: p99 {:.1?}, max {:.1?}", during.p99, during.max));
    stage.must(during.p99 <= COMMAND_TIMEOUT, format!("p99 of reads while paused: {:?}", during.p99));
    stage.must_be_without_errors();
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
