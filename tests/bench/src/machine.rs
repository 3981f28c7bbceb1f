//! What was measured, and where: without it the figures mean nothing.

use std::{fs, num::NonZero, path::Path, process::Command, thread, time::SystemTime};

use serde::Serialize;

/// The lock file of the workspace, for the versions of what the servers stand on.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// The circumstances of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    date: String,
    commit: String,
    larder: String,
    rustc: String,
    tonic: String,
    h2: String,
}

impl Machine {
    pub(crate) fn look(larder: &Path) -> Self {
        Self {
            cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| unknown(), trimmed),
            date: date(SystemTime::now()),
            commit: commit(),
            larder: said_by(larder, &["--version"]),
            rustc: said_by(Path::new("rustc"), &["--version"]),
            tonic: locked_version("tonic"),
            h2: locked_version("h2"),
        }
    }

    /// One line for the head of a report.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, Linux {}; {}; commit {}; {}; {}; tonic {}; h2 {}",
            self.cpu, self.cores, self.kernel, self.date, self.commit, self.larder, self.rustc, self.tonic, self.h2
        )
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(unknown, |model| model.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

/// The commit, with a plus sign when files differ from it.
fn commit() -> String {
    let commit = said_by(Path::new("git"), &["rev-parse", "--short", "HEAD"]);
    let changed = said_by(Path::new("git"), &["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_empty() || commit == unknown() { commit } else { format!("{commit}+") }
}

/// What a command prints; "unknown" when it cannot be run or fails.
fn said_by(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(unknown, trimmed)
}

fn locked_version(package: &str) -> String {
    let entry = format!("name = \"{package}\"\nversion = \"");
    LOCK.split_once(&entry)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or_else(unknown, |(version, _)| version.to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of a string")]
fn trimmed(text: String) -> String {
    text.trim().to_owned()
}

/// The date in UTC, as in ISO 8601.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The civil date of a day counted from 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn reads_model_and_versions() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n"), "Some CPU @ 3 GHz");
        assert_eq!(cpu_model(""), "unknown");
        assert!(locked_version("tonic").starts_with("0."));
        assert_eq!(locked_version("no-such-package"), "unknown");
    }
}
