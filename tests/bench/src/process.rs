//! What a process has used, read from `/proc`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The CPU time of each thread of a process, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    by_thread: BTreeMap<u32, u64>,
}

impl Usage {
    /// Reads it. A thread that ends meanwhile is left out.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        let mut by_thread = BTreeMap::new();
        for task in fs::read_dir(&tasks)? {
            let task = task?;
            let Some(thread) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(nanoseconds) = run_time(&task.path()) {
                by_thread.insert(thread, nanoseconds);
            }
        }
        if by_thread.is_empty() {
            return Err(io::Error::other("no thread's CPU time could be read"));
        }
        Ok(Self { by_thread })
    }

    /// The CPU time used since an earlier reading, by the threads that are there now. What a thread used that has ended
    /// since is lost, which a server that keeps its threads does not suffer from.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let nanoseconds = self
            .by_thread
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.by_thread.get(thread).copied().unwrap_or(0)))
            .sum();
        Duration::from_nanos(nanoseconds)
    }
}

/// How many write system calls a process has made, of those that pass through the file layer: `write` and `writev`, which
/// is what a server over tokio uses for more than one buffer. `sendto` and `sendmsg` are not among them (`proc_pid_io(5)`).
pub(crate) fn write_calls(process: u32) -> io::Result<u64> {
    let counters = fs::read_to_string(format!("/proc/{process}/io"))?;
    counters
        .lines()
        .find_map(|line| line.strip_prefix("syscw: ")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no syscw in /proc/PID/io"))
}

/// A thread's time on a CPU in nanoseconds: exact where the kernel keeps schedstat, else in clock ticks.
fn run_time(task: &Path) -> Option<u64> {
    let exact = fs::read_to_string(task.join("schedstat")).ok();
    exact.as_deref().and_then(parse_schedstat).or_else(|| parse_stat(&fs::read_to_string(task.join("stat")).ok()?))
}

/// The first of schedstat's three numbers.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `utime` and `stime` of a stat line, fields 14 and 15; the second, the command, is in parentheses and may hold anything.
fn parse_stat(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn reads_both_formats() {
        assert_eq!(parse_schedstat("726056 7008508 4\n"), Some(726_056));
        assert_eq!(parse_schedstat(""), None);
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let line = "42 (a) b ) S 1 42 42 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse_stat(line), Some(42 * tick));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn counts_threads_that_came_and_forgets_those_that_went() {
        let usage = |threads: &[(u32, u64)]| Usage { by_thread: threads.iter().copied().collect() };
        let before = usage(&[(1, 100), (2, 50)]);
        let after = usage(&[(1, 160), (3, 7)]);
        assert_eq!(after.since(&before), Duration::from_nanos(67));
    }

    #[test]
    fn sees_this_process_work_and_rest() {
        let this = std::process::id();
        let before = Usage::of(this).unwrap();
        let burnt = std::thread::spawn(move || {
            let thread = Usage::of(this).unwrap();
            let begun = Instant::now();
            let mut now = thread.clone();
            while now.since(&thread) < Duration::from_millis(30) && begun.elapsed() < Duration::from_secs(20) {
                now = Usage::of(this).unwrap();
            }
            now
        });
        let after = burnt.join().unwrap();
        assert!(after.since(&before) >= Duration::from_millis(30));
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn sees_writes() {
        let this = std::process::id();
        let before = write_calls(this).unwrap();
        fs::write("/dev/null", b"x").unwrap();
        assert!(write_calls(this).unwrap() > before);
    }
}
