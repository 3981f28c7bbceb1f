//! The clock on the wall of one replica is wrong, and jumps.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use larder_test_servers::TempDir;

use super::calm::{SEEN_MAX, SEEN_P99};
use crate::{
    probe,
    report::Report,
    stage::{Setup, Stage, wait},
};

/// The replica whose clock is wrong is the first.
const WRONG: usize = 0;
/// By how many seconds.
const OFF: i64 = 600;
/// Between two times that were told one after the other.
const SLACK: i64 = 20;
/// How soon a running process follows its clock.
const TURN_LIMIT: Duration = Duration::from_secs(20);
/// How soon a replica logs that its subscription was cut.
const LOG_LIMIT: Duration = Duration::from_secs(10);
/// Where packages put the library, for programs with threads.
const PLACES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/libfaketimeMT.so.1",
    "/usr/lib/libfaketimeMT.so.1",
];

pub(super) async fn wrong(setup: &Setup) -> anyhow::Result<Report> {
    let Some(library) = library() else {
        return Ok(Report::not_played("libfaketime is not installed, so that no clock can be wrong"));
    };
    let files = TempDir::new("chaos-clock");
    let file = files.join("offset");
    turn(&file, OFF)?;
    let variables = vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("LARDER_LOG", "info".to_owned()),
    ];
    only_the_wall_clock_is_wrong(&variables)?;
    let mut stage = setup.stage_with(|plan| plan.first = variables).await?;
    stage.start_load().await;
    let length = setup.seconds(10, 60);
    let mut told = Vec::new();
    for offset in [OFF, -OFF] {
        // The second time it jumps, while it is read and written.
        turn(&file, offset)?;
        told.push(until_off_by(&stage, offset).await?);
        probe::writes(&stage.shop, length).await?;
    }
    stage.stop_load().await;
    let seen = stage.shop.tally.figures().delay;
    stage.did(format!("the clock of one replica {OFF} s ahead and then behind, for {length:?} each"));
    stage.note(format!("by its log: {told:?} s"));
    stage.must_be_quick(seen.p99 < SEEN_P99, format!("p99 of a write seen elsewhere: {:?}", seen.p99));
    stage.must_be_quick(seen.max <= SEEN_MAX, format!("a write seen elsewhere after {:?}", seen.max));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Prints the seconds of the clock on the wall and of the one by which replicas measure, in the way in which they read them.
pub(crate) fn print() {
    let measured = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    println!("{} {measured}", now());
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The library, which `.ci/tools` names or a package has put in its place.
fn library() -> Option<PathBuf> {
    let named = env::var_os("LARDER_TEST_FAKETIME").map(PathBuf::from);
    named.into_iter().chain(PLACES.map(PathBuf::from)).find(|path| path.is_file())
}

/// Turns the clock. One that is running follows within a second.
fn turn(file: &Path, offset: i64) -> anyhow::Result<()> {
    // Never half a file: it is read at any time.
    let new = file.with_extension("new");
    fs::write(&new, format!("{offset:+}\n"))?;
    Ok(fs::rename(new, file)?)
}

/// Has this program tell its clocks under the same variables.
fn only_the_wall_clock_is_wrong(variables: &[(&str, String)]) -> anyhow::Result<()> {
    let clocks = |variables: &[(&str, String)]| -> anyhow::Result<[i64; 2]> {
        let program = env::current_exe()?;
        let output = Command::new(program).arg("--clocks").envs(variables.iter().cloned()).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (wall, measured) = text.trim().split_once(' ').context("two clocks")?;
        Ok([wall.parse()?, measured.parse()?])
    };
    let (right, wrong) = (clocks(&[])?, clocks(variables)?);
    let [wall, measured] = [0, 1].map(|clock| wrong[clock] - right[clock]);
    ensure!((wall - OFF).abs() < SLACK, "libfaketime moves the clock by {wall} s rather than {OFF} s");
    ensure!(measured.abs() < SLACK, "libfaketime moves CLOCK_BOOTTIME as well, by {measured} s");
    Ok(())
}

/// Waits until the replica's clock is off by so much, and returns by how much.
async fn until_off_by(stage: &Stage, offset: i64) -> anyhow::Result<i64> {
    let begin = stage.shop.now();
    loop {
        let off = off_by(stage).await?;
        if (off - offset).abs() < SLACK {
            return Ok(off);
        }
        ensure!(stage.shop.now() < begin + TURN_LIMIT, "the replica's clock is {off} s off rather than {offset} s");
    }
}

/// By how much the replica's clock is off, as the time tells that it logs when its subscription is cut.
async fn off_by(stage: &Stage) -> anyhow::Result<i64> {
    let (log, proxy) = (stage.world.replicas()[WRONG].log(), &stage.world.proxies()[WRONG]);
    let lines = || -> anyhow::Result<usize> { Ok(fs::read_to_string(&log)?.lines().count()) };
    let (before, begin) = (lines()?, stage.shop.now());
    proxy.cut_subscribers();
    while lines()? <= before {
        ensure!(stage.shop.now() < begin + LOG_LIMIT, "the replica whose subscription was cut does not log");
        wait(Duration::from_millis(10)).await;
    }
    proxy.wait_until("subscriber", |proxy| proxy.subscribers() > 0).await;
    let text = fs::read_to_string(&log)?;
    let line = text.lines().nth(before).context("a line")?;
    let time = line.split_once("\"timestamp\":\"").and_then(|(_, rest)| rest.split('"').next());
    let time: prost_types::Timestamp = time.context("a line without a time")?.parse()?;
    Ok(time.seconds - now())
}
