//! How many system calls a server makes to write its replies.
//!
//! The servers gather the replies of a connection and write many at once. That leans on an internal of the HTTP/2 library, so
//! it could be lost with an update and nothing would fail: replies would only cost half as much again.

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use serde::Serialize;

use crate::{
    load::{Calls, Target, exactly},
    process,
    scenario::Scenario,
};

/// More write calls per request than this, with 32 requests under way on each connection, means that replies are no longer
/// gathered: they would take about one each.
pub(crate) const GATHERED: f64 = 0.2;

/// The calls that write to a socket.
const SOCKET_WRITES: [&str; 4] = ["writev", "sendto", "sendmsg", "sendmmsg"];

/// Write calls per request.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct WriteCalls {
    pub(crate) larder: f64,
    pub(crate) bare: f64,
    pub(crate) counted_by: Counter,
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counter {
    /// `strace`: every call that writes to a socket.
    Strace,
    /// `syscw` of `/proc/PID/io`: `write` and `writev` to anything, but neither `sendto` nor `sendmsg`. tokio writes several
    /// buffers by `writev` and a single one by `sendto`, so what is not gathered may go uncounted.
    Syscw,
}

impl Counter {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strace => "strace",
            Self::Syscw => "/proc/PID/io, which leaves out sendto and sendmsg",
        }
    }
}

/// Counts for both servers of a scenario, the same way.
pub(crate) async fn compare(scenario: &Scenario, requests: u32) -> anyhow::Result<WriteCalls> {
    for counter in [Counter::Strace, Counter::Syscw] {
        let larder = count(counter, &scenario.larder, scenario, requests).await?;
        let bare = count(counter, &scenario.bare, scenario, requests).await?;
        if let (Some(larder), Some(bare)) = (larder, bare) {
            return Ok(WriteCalls {
                larder: larder / f64::from(requests),
                bare: bare / f64::from(requests),
                counted_by: counter,
            });
        }
    }
    anyhow::bail!("write calls can be counted neither by strace nor by /proc/PID/io")
}

/// The calls that a server makes for a number of requests; `None` when this counter is not to be had.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
async fn count(
    counter: Counter,
    (target, calls): &(Target, std::sync::Arc<Calls>),
    scenario: &Scenario,
    requests: u32,
) -> anyhow::Result<Option<f64>> {
    let load = async || {
        let faults = exactly(*target, calls, scenario.shape, requests.into()).await?;
        anyhow::ensure!(faults.count == 0, "{} wrong replies while write calls were counted", faults.count);
        Ok(())
    };
    let writes = match counter {
        Counter::Strace => {
            let Some(trace) = Trace::attach(target.process) else {
                return Ok(None);
            };
            load().await?;
            trace.finish()
        }
        Counter::Syscw => {
            let Ok(before) = process::write_calls(target.process) else {
                return Ok(None);
            };
            load().await?;
            Some(process::write_calls(target.process)? - before)
        }
    };
    Ok(writes.map(|calls| calls as f64))
}

/// A strace that is attached to a process.
struct Trace {
    strace: Child,
    summary: tempfile::NamedTempFile,
    /// Held open, for strace ends when it cannot report a new thread.
    _told: Lines<BufReader<ChildStderr>>,
}

impl Trace {
    /// Attaches to every thread; `None` where there is no strace or it may not.
    fn attach(process: u32) -> Option<Self> {
        let summary = tempfile::NamedTempFile::new().ok()?;
        let mut strace = strace(process, summary.path()).spawn().ok()?;
        let mut told = BufReader::new(strace.stderr.take()?).lines();
        let attached = told.by_ref().map_while(Result::ok).any(|line| line.contains(" attached"));
        let trace = Self { strace, summary, _told: told };
        // Without having attached, strace has ended; dropping the trace sees to it.
        attached.then_some(trace)
    }

    /// Detaches; the number of calls.
    fn finish(mut self) -> Option<u64> {
        let process = rustix::process::Pid::from_raw(i32::try_from(self.strace.id()).ok()?)?;
        rustix::process::kill_process(process, rustix::process::Signal::INT).ok()?;
        self.strace.wait().ok()?;
        Some(socket_writes(&fs::read_to_string(self.summary.path()).ok()?))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn strace(process: u32, summary: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-c", "-e"])
        .arg(format!("trace={}", SOCKET_WRITES.join(",")))
        .arg("-o")
        .arg(summary)
        .arg("-p")
        .arg(process.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The calls in strace's summary: the fourth column of the rows whose last one is the name of such a call.
fn socket_writes(summary: &str) -> u64 {
    summary
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let name = columns.last()?;
            SOCKET_WRITES.contains(name).then(|| columns.get(3)?.parse::<u64>().ok())?
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_of_strace() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 97.31    0.010221           7      1290           writev
  2.69    0.000283           3        80         4 sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.010504           7      1370         4 total
";
        assert_eq!(socket_writes(summary), 1370);
        assert_eq!(socket_writes(""), 0);
    }
}
