//! The closed loop: every stream sends its next request when the last is answered. Shows what a server can do at most.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{task::JoinSet, time::sleep};

use super::{Calls, Connection, Outcome, Shape, Target, Window, tally::Tally};
use crate::process::Usage;

/// Loads a server for a window of time.
pub(crate) async fn closed(
    target: Target,
    calls: &Arc<Calls>,
    shape: Shape,
    window: Window,
) -> anyhow::Result<Outcome> {
    let tally = Arc::new(Tally::new());
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for connection in connect(target, calls, shape.connections).await? {
        for _ in 0..shape.streams {
            let (mut connection, calls) = (connection.clone(), Arc::clone(calls));
            let (tally, stop) = (Arc::clone(&tally), Arc::clone(&stop));
            streams.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let result = connection.check(calls.next()).await;
                    let failed = result.is_err();
                    tally.count(result, tally.recording().then(|| begun.elapsed()));
                    if failed {
                        // The run has failed already; a loop of errors would only keep the processor.
                        break;
                    }
                }
            });
        }
    }

    sleep(window.warm_up).await;
    let server = Usage::of(target.process)?;
    let client = Usage::of(std::process::id())?;
    let begun = Instant::now();
    tally.record_from_now(true);
    sleep(window.measured).await;
    let replies = tally.replies();
    let elapsed = begun.elapsed();
    let server_cpu = Usage::of(target.process)?.since(&server);
    let client_cpu = Usage::of(std::process::id())?.since(&client);
    tally.record_from_now(false);
    stop.store(true, Ordering::Relaxed);
    while streams.join_next().await.transpose()?.is_some() {}

    Ok(Outcome { replies, elapsed, server_cpu, client_cpu, latencies: tally.latencies(), faults: tally.faults() })
}

/// Makes exactly `count` requests and returns how many were answered wrongly.
pub(crate) async fn exactly(
    target: Target,
    calls: &Arc<Calls>,
    shape: Shape,
    count: u64,
) -> anyhow::Result<super::Faults> {
    let tally = Arc::new(Tally::new());
    let left = Arc::new(AtomicU64::new(count));
    let mut streams = JoinSet::new();
    for connection in connect(target, calls, shape.connections).await? {
        for _ in 0..shape.streams {
            let (mut connection, calls) = (connection.clone(), Arc::clone(calls));
            let (tally, left) = (Arc::clone(&tally), Arc::clone(&left));
            streams.spawn(async move {
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    tally.count(connection.check(calls.next()).await, None);
                }
            });
        }
    }
    while streams.join_next().await.transpose()?.is_some() {}
    Ok(tally.faults())
}

async fn connect(target: Target, calls: &Calls, connections: usize) -> anyhow::Result<Vec<Connection>> {
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        opened.push(Connection::open(target.address, calls.path).await?);
    }
    Ok(opened)
}
