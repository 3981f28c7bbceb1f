//! Which processors whom runs on.
//!
//! An attacker that shares its processors with the replica slows the replica down by computing alone. Kept apart, what a polite client
//! sees is what the attack costs the replica itself.

use std::{
    future::{Future, pending},
    io, thread,
};

use tokio::runtime::{Builder, Handle};

/// Who runs where.
#[derive(Debug)]
pub(crate) struct Cores {
    attackers: Handle,
    /// The processor of the replica and the polite clients; `None` where everybody runs everywhere.
    replica: Option<usize>,
}

/// Whether attackers have a processor of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Division {
    /// They have, where there are two.
    Apart,
    /// Everybody runs everywhere.
    Shared,
}

impl Cores {
    /// Divides the processors, and keeps this process, all but its attackers, on that of the replica. Processes that are started from
    /// now on stay there, too.
    pub(crate) fn divide(division: Division) -> io::Result<Self> {
        let (replica, attackers) = match (division, affinity::available()?.as_slice()) {
            (Division::Apart, [first, second, ..]) => (Some(*first), Some(*second)),
            _ => (None, None),
        };
        if let Some(cpu) = replica {
            affinity::keep_process(cpu)?;
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        // It ends with the process.
        thread::spawn(move || {
            if let Some(cpu) = attackers {
                // Where this fails, attackers share the replica's processor, which is the harder test.
                let _ = affinity::keep_thread(cpu);
            }
            runtime.block_on(pending::<()>());
        });
        Ok(Self { attackers: handle, replica })
    }

    /// Whether the attackers have a processor of their own.
    pub(crate) fn are_apart(&self) -> bool {
        self.replica.is_some()
    }

    /// Where attackers run.
    pub(crate) fn attackers(&self) -> &Handle {
        &self.attackers
    }

    /// Runs something as the attackers do, to its end.
    pub(crate) async fn as_attacker<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        Ok(self.attackers.spawn(work).await?)
    }
}

#[cfg(target_os = "linux")]
mod affinity {
    use std::io;

    use rustix::{
        process::Pid,
        thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    };

    /// The processors that this process may use.
    pub(super) fn available() -> io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
    }

    /// Keeps the threads that there are, and those that they will start, on a processor.
    pub(super) fn keep_process(cpu: usize) -> io::Result<()> {
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?.file_name();
            let thread = task.to_str().and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
            if thread.is_some() {
                sched_setaffinity(thread, &only(cpu))?;
            }
        }
        Ok(())
    }

    /// Keeps this thread on a processor.
    pub(super) fn keep_thread(cpu: usize) -> io::Result<()> {
        Ok(sched_setaffinity(None, &only(cpu))?)
    }

    fn only(cpu: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(cpu);
        set
    }
}

/// Only Linux lets a program choose.
#[cfg(not(target_os = "linux"))]
mod affinity {
    use std::io;

    pub(super) fn available() -> io::Result<Vec<usize>> {
        Ok(Vec::new())
    }

    pub(super) fn keep_process(_: usize) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn keep_thread(_: usize) -> io::Result<()> {
        Ok(())
    }
}
