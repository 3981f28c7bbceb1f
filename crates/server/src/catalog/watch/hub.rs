//! Keeps the latest passes of the follower for the watchers.
//!
//! The cache's follower reads the change log once, and hands every pass on to the hub in the same order. A further watcher costs
//! the database nothing but the products of its events, which come from the cache.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use larder_change::{Incarnation, Snapshot};
use larder_storage::Change;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::WatchConfig;

/// One step along the change log.
#[derive(Debug)]
pub(crate) struct Step {
    /// The snapshot before the step; `None` when it is unknown.
    pub(crate) since: Option<Snapshot>,
    /// The snapshot after the step.
    pub(crate) to: Snapshot,
    /// The incarnation of the database.
    pub(crate) incarnation: Incarnation,
    /// The changes between the two, in the order of versions; `None` when anything may have changed.
    pub(crate) changes: Option<Vec<Change>>,
}

/// Hands the steps of the follower on to the watchers.
#[derive(Debug)]
pub(crate) struct Hub {
    config: WatchConfig,
    places: Arc<Semaphore>,
    ring: Mutex<Ring>,
    news: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

/// The last steps; steps before number `next - steps.len()` are gone.
#[derive(Debug, Default)]
struct Ring {
    watchers: usize,
    next: u64,
    steps: VecDeque<Arc<Step>>,
    changes: usize,
}

/// Steps without a change are small, and have a limit of their own: at most 100 arrive in a second.
const MOST_STEPS: usize = 4_096;

/// A reader of the steps.
#[derive(Debug)]
pub(crate) struct Cursor {
    hub: Arc<Hub>,
    next: u64,
    news: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

/// The hub no longer keeps the next step of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind;

impl Hub {
    pub(crate) fn new(config: WatchConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.watchers)),
            config,
            ring: Mutex::default(),
            news: watch::channel(0).0,
            closed: watch::channel(false).0,
        }
    }

    pub(crate) fn config(&self) -> &WatchConfig {
        &self.config
    }

    /// Whether there are watchers. A watcher that joins while a step arrives asks for another step anyway.
    pub(crate) fn watched(&self) -> bool {
        self.ring().watchers > 0
    }

    /// Adds a step.
    pub(crate) fn tell(&self, step: Step) {
        let mut ring = self.ring();
        if ring.watchers == 0 {
            return;
        }
        ring.changes += step.weight();
        ring.steps.push_back(Arc::new(step));
        ring.next += 1;
        while ring.steps.len() > 1 && (ring.changes > self.config.backlog || ring.steps.len() > MOST_STEPS) {
            let gone = ring.steps.pop_front();
            ring.changes -= gone.map_or(0, |step| step.weight());
        }
        self.news.send_replace(ring.next);
    }

    /// A cursor that begins with the next step; `None` when there is no place for it.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Cursor> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut ring = self.ring();
        ring.watchers += 1;
        Some(Cursor { hub: Arc::clone(self), next: ring.next, news: self.news.subscribe(), _place: place })
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Waits until the streams are to end.
    pub(crate) async fn closed(&self) {
        // There is no error: `self` owns the sender.
        let _ = self.closed.subscribe().wait_for(|&closed| closed).await;
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn weight(&self) -> usize {
        self.changes.as_ref().map_or(0, Vec::len)
    }
}

impl Cursor {
    /// The hub of the cursor.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Waits for the next step. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Arc<Step>, Behind> {
        loop {
            self.news.mark_unchanged();
            {
                let ring = self.hub.ring();
                let back = ring.next - self.next;
                if back > 0 {
                    let place = usize::try_from(back).ok().and_then(|back| ring.steps.len().checked_sub(back));
                    let step = place.and_then(|place| ring.steps.get(place)).ok_or(Behind)?;
                    self.next += 1;
                    return Ok(Arc::clone(step));
                }
            }
            if self.news.changed().await.is_err() {
                return Err(Behind);
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut ring = self.hub.ring();
        ring.watchers -= 1;
        if ring.watchers == 0 {
            ring.steps.clear();
            ring.changes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use larder_storage::Subject;

    use super::*;

    fn hub(watchers: usize, backlog: usize) -> Arc<Hub> {
        Arc::new(Hub::new(WatchConfig { watchers, backlog, ..WatchConfig::default() }))
    }

    fn step(number: u64, changes: usize) -> Step {
        let changes = vec![
            Change { id: number, salt: 0, subject: Subject::All, cause: larder_change::Cause::default() };
            changes
        ];
        let to = Snapshot { xmin: number, xmax: number, ..Snapshot::default() };
        Step { since: None, to, incarnation: Incarnation(1), changes: Some(changes) }
    }

    fn next(cursor: &mut Cursor) -> Option<Result<u64, Behind>> {
        cursor.next().now_or_never().map(|step| step.map(|step| step.to.xmin))
    }

    #[test]
    fn each_reader_sees_every_step_from_where_it_began() {
        let hub = hub(2, 100);
        hub.tell(step(1, 1));
        let mut one = hub.join().unwrap();
        hub.tell(step(2, 1));
        let mut two = hub.join().unwrap();
        assert!(hub.join().is_none(), "there are two places");
        hub.tell(step(3, 0));
        assert_eq!((next(&mut one), next(&mut one), next(&mut one)), (Some(Ok(2)), Some(Ok(3)), None));
        assert_eq!((next(&mut two), next(&mut two)), (Some(Ok(3)), None));
        hub.tell(step(4, 1));
        assert_eq!((next(&mut one), next(&mut two)), (Some(Ok(4)), Some(Ok(4))));
        drop((one, two));
        assert!(!hub.watched() && hub.ring().steps.is_empty(), "nothing is kept for nobody");
        assert!(hub.join().is_some(), "places are given back");
    }

    #[test]
    fn who_is_too_far_behind_is_told_so() {
        let hub = hub(1, 10);
        let mut slow = hub.join().unwrap();
        hub.tell(step(1, 5));
        hub.tell(step(2, 5));
        assert_eq!(next(&mut slow), Some(Ok(1)));
        hub.tell(step(3, 5));
        hub.tell(step(4, 5));
        assert_eq!(next(&mut slow), Some(Err(Behind)));
        let mut other = {
            drop(slow);
            hub.join().unwrap()
        };
        hub.tell(step(5, 50));
        assert_eq!(next(&mut other), Some(Ok(5)), "one step is kept, however large");
        for number in 0..=MOST_STEPS as u64 {
            hub.tell(step(number, 0));
        }
        assert_eq!(next(&mut other), Some(Err(Behind)));
    }
}
