//! Requests for passes over the change log, and which of them have been served.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_change::Incarnation;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::error::ReadError;

/// The progress of the follower, and the requests of readers for another pass.
#[derive(Debug)]
pub(crate) struct Progress {
    requested: AtomicU64,
    wake: Notify,
    done: watch::Sender<Done>,
    failing: AtomicBool,
    /// The incarnations that were followed before, the latest last.
    former: Mutex<Vec<Incarnation>>,
}

/// The last request that a pass has served, and the last one that a successful pass has served.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    tried: u64,
    succeeded: u64,
}

/// Former incarnations that are remembered.
const MOST_FORMER: usize = 16;

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            requested: AtomicU64::new(0),
            wake: Notify::new(),
            done: watch::channel(Done::default()).0,
            failing: AtomicBool::new(false),
            former: Mutex::default(),
        }
    }

    /// Whether the last pass failed.
    pub(crate) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Requests a pass without waiting for it.
    pub(crate) fn request(&self) {
        self.requested.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Subscribes to every completed pass.
    pub(crate) fn passes(&self) -> watch::Receiver<Done> {
        self.done.subscribe()
    }

    /// Waits for a successful pass that begins after this call. Many concurrent requests cost one pass.
    pub(crate) async fn pass(&self, at_most: Duration) -> Result<(), ReadError> {
        let mut done = self.done.subscribe();
        let request = self.requested.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        match timeout(at_most, done.wait_for(|done| done.tried >= request)).await {
            Ok(Ok(done)) if done.succeeded >= request => Ok(()),
            _ => Err(ReadError::NoPass),
        }
    }

    /// Waits for a pass on behalf of a reader who cannot be answered without one. Tries twice: the cause of a failure, such as a
    /// connection that the network dropped, is often gone the second time.
    pub(crate) async fn pass_or_retry(&self, at_most: Duration) -> Result<(), ReadError> {
        if self.pass(at_most).await.is_ok() { Ok(()) } else { self.pass(at_most).await }
    }

    /// Whether an incarnation was followed before. Its messages may still arrive.
    pub(crate) fn was_followed(&self, incarnation: Incarnation) -> bool {
        self.former.lock().unwrap_or_else(PoisonError::into_inner).contains(&incarnation)
    }

    /// Waits for a request that no pass has served: many requests wake the follower once.
    pub(super) async fn wait_for_request(&self) {
        loop {
            self.wake.notified().await;
            if self.requested.load(Ordering::SeqCst) > self.done.borrow().tried {
                return;
            }
        }
    }

    /// The last request so far, which a pass that begins now serves.
    pub(super) fn last_request(&self) -> u64 {
        self.requested.load(Ordering::SeqCst)
    }

    /// Records a successful pass that has served the requests up to `request`.
    pub(super) fn succeeded(&self, request: u64) {
        self.done.send_modify(|done| *done = Done { tried: request, succeeded: request });
    }

    /// Records a failed pass that has served the requests up to `request`.
    pub(super) fn failed(&self, request: u64) {
        self.done.send_modify(|done| done.tried = request);
    }

    /// Marks the change log as unreadable. Returns whether it was readable before.
    pub(super) fn start_failing(&self) -> bool {
        !self.failing.swap(true, Ordering::Relaxed)
    }

    /// Marks the change log as readable. Returns whether it was unreadable before.
    pub(super) fn stop_failing(&self) -> bool {
        self.failing.swap(false, Ordering::Relaxed)
    }

    /// Records that an incarnation is no longer followed.
    pub(super) fn add_former(&self, incarnation: Incarnation) {
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        if former.len() == MOST_FORMER {
            former.remove(0);
        }
        former.push(incarnation);
    }
}
