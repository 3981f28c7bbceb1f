//! The open loop: requests begin at a constant rate, whatever became of those before. Shows what latency callers see.
//!
//! A request's latency counts from the moment it was due, not from the moment it could be sent: a stall of the server, or
//! of this generator, counts for every request that it kept waiting (Tene, "How NOT to Measure Latency").

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::JoinSet,
    time::timeout,
};

use super::{Calls, Connection, Fault, Outcome, Target, Window, tally::Tally};
use crate::process::Usage;

/// How long to wait for the last replies.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends `rate` requests a second for a window of time, in turn over `connections`.
pub(crate) async fn open(
    target: Target,
    calls: &Arc<Calls>,
    connections: usize,
    rate: f64,
    window: Window,
) -> anyhow::Result<Outcome> {
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        opened.push(Connection::open(target.address, calls.path).await?);
    }
    let mut turns = opened.iter().cycle();
    let tally = Arc::new(Tally::new());
    let mut requests = JoinSet::new();
    let mut pacer = Pacer::start(Duration::from_secs_f64(1.0 / rate))?;
    let recorded_from = pacer.start + window.warm_up;
    let end = recorded_from + window.measured;
    let mut before: Option<(Usage, Usage)> = None;
    'sending: loop {
        for _ in 0..pacer.due().await? {
            let due = pacer.next();
            if due >= end {
                break 'sending;
            }
            let recorded = due >= recorded_from;
            if recorded && before.is_none() {
                before = Some((Usage::of(target.process)?, Usage::of(std::process::id())?));
            }
            let mut connection = turns.next().expect("at least one connection").clone();
            let (calls, tally) = (Arc::clone(calls), Arc::clone(&tally));
            requests.spawn(async move {
                let result = connection.check(calls.next()).await;
                tally.count(result, recorded.then(|| due.elapsed()));
            });
        }
        while requests.try_join_next().transpose()?.is_some() {}
    }
    let all_answered = timeout(PATIENCE, async {
        while requests.join_next().await.transpose()?.is_some() {}
        Ok::<_, tokio::task::JoinError>(())
    });
    if let Ok(answered) = all_answered.await {
        answered?;
    } else {
        for _ in 0..requests.len() {
            tally.count(Err(Fault::Unanswered), None);
        }
    }
    let (server, client) = before.ok_or_else(|| anyhow::anyhow!("no request was due within the window"))?;
    Ok(Outcome {
        replies: tally.replies(),
        elapsed: recorded_from.elapsed(),
        server_cpu: Usage::of(target.process)?.since(&server),
        client_cpu: Usage::of(std::process::id())?.since(&client),
        latencies: tally.latencies(),
        faults: tally.faults(),
    })
}

/// Tells when requests are due. tokio's own timer knows only milliseconds, so this is a timer of the kernel's.
struct Pacer {
    timer: AsyncFd<OwnedFd>,
    start: Instant,
    interval: Duration,
    sent: u32,
}

impl Pacer {
    fn start(interval: Duration) -> io::Result<Self> {
        let interval = interval.max(Duration::from_nanos(1));
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let every = Timespec::try_from(interval).map_err(io::Error::other)?;
        let both = Itimerspec { it_interval: every, it_value: every };
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types whose descriptor may change or close; an OwnedFd's does neither"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        let start = Instant::now();
        timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &both)?;
        Ok(Self { timer, start, interval, sent: 0 })
    }

    /// Waits until requests are due, and says how many have become so.
    async fn due(&self) -> io::Result<u64> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            match rustix::io::read(self.timer.get_ref(), &mut expirations) {
                Ok(_) => {
                    // The count has been taken; the next expiration makes the timer ready anew.
                    ready.clear_ready();
                    return Ok(u64::from_ne_bytes(expirations));
                }
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When the next request was due.
    fn next(&mut self) -> Instant {
        self.sent += 1;
        self.start + self.interval * self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_fall_due_at_the_rate_and_none_is_lost_in_a_stall() {
        let mut pacer = Pacer::start(Duration::from_micros(500)).unwrap();
        let mut due = 0;
        let mut last = pacer.start;
        while due < 100 {
            let released = pacer.due().await.unwrap();
            for _ in 0..released {
                let next = pacer.next();
                assert_eq!(next - last, Duration::from_micros(500));
                last = next;
            }
            assert!(last <= Instant::now());
            if due == 0 {
                std::thread::sleep(Duration::from_millis(20));
                assert!(pacer.due().await.unwrap() >= 39);
                for _ in 0..39 {
                    last = pacer.next();
                }
                due += 39;
            }
            due += released;
        }
    }
}
