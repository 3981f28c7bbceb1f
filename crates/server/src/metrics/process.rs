//! What the system tells about the process: on Linux, from `/proc`.

use std::{fs, io::Error};

use larder_cache::Sample;
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::table::{
    PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY, PROCESS_START_TIME, PROCESS_THREADS,
    PROCESS_VIRTUAL_MEMORY,
};

/// The numbers of `/proc/self/stat` behind the name of the program, by their place there, which counts from field 3 of
/// proc(5).
struct Stat(Vec<u64>);

const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Reads everything; what the system does not tell is missing.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        samples.extend(of_stat(&Stat::parse(&stat)));
    }
    // The folder that is being read counts as open, too.
    samples.extend(open_files().ok().map(|open| PROCESS_OPEN_FDS.count([], open.saturating_sub(1))));
    samples.extend(getrlimit(Resource::Nofile).current.map(|most| PROCESS_MAX_FDS.count([], most)));
    samples
}

fn open_files() -> Result<u64, Error> {
    Ok(fs::read_dir("/proc/self/fd")?.count() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "ticks of the clock and seconds since 1970 are far below 2^52")]
fn of_stat(stat: &Stat) -> Vec<Sample> {
    let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
    let mut samples = vec![
        PROCESS_CPU.number([], seconds(stat.at(USER_TICKS) + stat.at(SYSTEM_TICKS))),
        PROCESS_RESIDENT_MEMORY.count([], stat.at(RESIDENT_PAGES) * page_size() as u64),
        PROCESS_VIRTUAL_MEMORY.count([], stat.at(VIRTUAL_BYTES)),
        PROCESS_THREADS.count([], stat.at(THREADS)),
    ];
    samples.extend(booted().map(|booted| PROCESS_START_TIME.number([], booted as f64 + seconds(stat.at(START_TICKS)))));
    samples
}

/// When the system started, in seconds since 1970.
fn booted() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

impl Stat {
    fn parse(text: &str) -> Self {
        // The name of the program is in parentheses and may hold anything.
        let behind_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        Self(behind_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
    }

    fn at(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_any_name() {
        let numbers: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
        let stat = Stat::parse(&format!("1 (a) b (c)) S {}\n", numbers.join(" ")));
        let places = [USER_TICKS, SYSTEM_TICKS, THREADS, START_TICKS, VIRTUAL_BYTES, RESIDENT_PAGES];
        assert_eq!(places.map(|place| stat.at(place)), [14, 15, 20, 22, 23, 24]);
        assert_eq!(Stat::parse("").at(USER_TICKS), 0);
    }
}
