//! Copies that are written to L2 in the background. The write to the database is never deferred, and the next reader loads a copy
//! that is lost here.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use larder_change::Incarnation;
use tokio::sync::Notify;

use super::{Fill, L2};

/// The queue of copies to write.
#[derive(Default)]
pub(super) struct WriteBehind {
    queue: Mutex<VecDeque<(Incarnation, Fill)>>,
    wake: Notify,
    /// Copies in the queue, and those that are being written.
    unwritten: AtomicUsize,
    written: Notify,
}

/// Copies that may wait; further ones are dropped.
const MOST: usize = 4_096;
/// Copies written in one round trip.
const AT_ONCE: usize = 128;

impl L2 {
    /// Queues a copy. A full queue drops the copy and counts it.
    pub(crate) fn enqueue(&self, incarnation: Incarnation, fill: Fill) {
        if !self.write_behind.push(incarnation, fill) {
            self.counters.l2_dropped.one();
        }
    }

    /// Writes queued copies until the future is dropped.
    pub(super) async fn write_queued(&self) {
        loop {
            let (incarnation, fills) = self.write_behind.take();
            if fills.is_empty() {
                self.write_behind.wake.notified().await;
                continue;
            }
            self.counters.l2_sets.add(fills.len() as u64);
            let _ = self.fill(incarnation, &fills, &[]).await;
            self.write_behind.unwritten.fetch_sub(fills.len(), Ordering::Relaxed);
            self.write_behind.written.notify_waiters();
        }
    }

    /// Waits until no queued copy is left to write.
    pub(crate) async fn flush(&self) {
        loop {
            // Made before the look, so that nothing in between is missed.
            let written = self.write_behind.written.notified();
            if self.write_behind.unwritten.load(Ordering::Relaxed) == 0 {
                return;
            }
            written.await;
        }
    }
}

impl WriteBehind {
    /// Appends a copy. Returns whether there was room.
    fn push(&self, incarnation: Incarnation, fill: Fill) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == MOST {
            return false;
        }
        queue.push_back((incarnation, fill));
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Takes copies of one incarnation.
    fn take(&self) -> (Incarnation, Vec<Fill>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.front().map_or(Incarnation(0), |(incarnation, _)| *incarnation);
        let mut fills = Vec::new();
        while fills.len() < AT_ONCE
            && let Some((_, fill)) = queue.pop_front_if(|(incarnation, _)| *incarnation == first)
        {
            fills.push(fill);
        }
        (first, fills)
    }
}
