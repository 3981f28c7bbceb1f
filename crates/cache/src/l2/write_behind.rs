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

use super::{Fill, L2, outcome};
use crate::trace::{self, ActiveSpan, SpanKind};

/// The queue of copies to write.
#[derive(Default)]
pub(super) struct WriteBehind {
    queue: Mutex<VecDeque<Queued>>,
    wake: Notify,
    /// Copies in the queue, and those that are being written.
    unwritten: AtomicUsize,
    written: Notify,
}

/// A copy that waits.
struct Queued {
    incarnation: Incarnation,
    fill: Fill,
    /// The wait, where the write is traced.
    wait: ActiveSpan,
}

/// Copies that are written in one round trip.
struct Batch {
    incarnation: Incarnation,
    fills: Vec<Fill>,
    /// The waits that end with the batch.
    waits: Vec<ActiveSpan>,
}

/// Copies that may wait; further ones are dropped.
const MOST: usize = 4_096;
/// Copies written in one round trip.
const AT_ONCE: usize = 128;

impl L2 {
    /// Queues a copy. A full queue drops the copy and counts it.
    pub(crate) fn enqueue(&self, incarnation: Incarnation, fill: Fill) {
        let wait = trace::start("wait for flush", SpanKind::Internal);
        wait.note("larder.wait.for", "write_behind");
        if !self.write_behind.push(Queued { incarnation, fill, wait }) {
            self.counters.l2_dropped.one();
        }
    }

    /// Writes queued copies until the future is dropped.
    pub(super) async fn write_queued(&self) {
        loop {
            let Batch { incarnation, fills, waits } = self.write_behind.take();
            if fills.is_empty() {
                self.write_behind.wake.notified().await;
                continue;
            }
            let flush = trace::start_linked("flush copies", &waits);
            flush.note("larder.l2.copies", fills.len());
            drop(waits);
            self.counters.l2_sets.add(fills.len() as u64);
            let _ = outcome(&flush, flush.clone().carry(self.fill(incarnation, &fills, &[])).await);
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
    fn push(&self, copy: Queued) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == MOST {
            drop(queue);
            copy.wait.fail("queue_full");
            return false;
        }
        queue.push_back(copy);
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Takes copies of one incarnation.
    fn take(&self) -> Batch {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let incarnation = queue.front().map_or(Incarnation(0), |first| first.incarnation);
        let mut batch = Batch { incarnation, fills: Vec::new(), waits: Vec::new() };
        while batch.fills.len() < AT_ONCE
            && let Some(Queued { fill, wait, .. }) = queue.pop_front_if(|copy| copy.incarnation == incarnation)
        {
            batch.fills.push(fill);
            if wait.is_traced() {
                batch.waits.push(wait);
            }
        }
        batch
    }
}
