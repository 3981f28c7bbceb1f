//! Single flight: many concurrent readers of a cold key cost one load.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use foldhash::fast::RandomState;
use futures_util::{FutureExt as _, future::Shared};
use tokio::sync::{Notify, oneshot};

use crate::{error::LoadError, l1::Entry, time::Moment, validity::ValidityStamp};

/// The outcome of a load for one key.
pub(super) type Outcome<V> = Result<Arc<Entry<V>>, LoadError>;

/// The wait of one reader for a load. A load that is lost ends the wait with [`LoadError::Lost`].
pub(super) struct Waiting<V> {
    outcome: Landing<V>,
    reader: Reader,
}

/// The outcome to come, for any number of readers.
type Landing<V> = Shared<futures_util::future::Map<oneshot::Receiver<Outcome<V>>, fn(Received<V>) -> Outcome<V>>>;

type Received<V> = Result<Outcome<V>, oneshot::error::RecvError>;

/// The readers that wait for a load, which is of no use to anybody once they have all gone.
#[derive(Debug, Default)]
struct Readers {
    waiting: AtomicUsize,
    gone: Notify,
}

/// One of them, until it is dropped.
#[derive(Debug)]
struct Reader(Arc<Readers>);

/// Identifies a load by its key and the state of the key's validity: a reader who knows of a change joins no load that began
/// before the change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LoadKey {
    pub(super) name: Box<str>,
    pub(super) stamp: ValidityStamp,
}

/// A key to load.
#[derive(Debug)]
pub(super) struct Target {
    /// The index by which the load function knows the key.
    pub(super) index: usize,
    pub(super) key: LoadKey,
    /// The term on which a list depends.
    pub(super) term: Option<Box<str>>,
}

impl Target {
    pub(super) fn new(index: usize, name: Box<str>, term: Option<Box<str>>, stamp: ValidityStamp) -> Self {
        Self { index, key: LoadKey { name, stamp }, term }
    }

    /// The name of the key.
    pub(super) fn name(&self) -> &str {
        &self.key.name
    }
}

/// The loads in flight.
pub(crate) struct SingleFlight<V> {
    by_key: Mutex<HashMap<LoadKey, InFlight<V>, RandomState>>,
}

struct InFlight<V> {
    began: Moment,
    outcome: Landing<V>,
    readers: Arc<Readers>,
}

/// The duty to load some keys. Dropping the guard, done or not, ends the loads.
pub(super) struct LoadGuard<V> {
    single_flight: Arc<SingleFlight<V>>,
    began: Moment,
    loads: Vec<Load<V>>,
    /// Those of all keys, and of the parts that this guard was split into.
    readers: Arc<Readers>,
}

/// A key to load, and the sender to its waiters.
struct Load<V> {
    target: Target,
    sender: oneshot::Sender<Outcome<V>>,
}

impl<V> SingleFlight<V> {
    pub(crate) fn new() -> Self {
        Self { by_key: Mutex::default() }
    }

    /// Joins the loads in flight for `targets`, where `joinable` accepts their start, and takes on the duty to load the others. The
    /// waits are in the order of `targets`.
    pub(super) fn join(
        self: &Arc<Self>,
        targets: impl IntoIterator<Item = Target>,
        now: Moment,
        joinable: impl Fn(Moment) -> bool,
    ) -> (Vec<Waiting<V>>, LoadGuard<V>) {
        let mut by_key = self.lock();
        let mut waits = Vec::new();
        let readers = Arc::new(Readers::default());
        let mut guard =
            LoadGuard { single_flight: Arc::clone(self), began: now, loads: Vec::new(), readers: Arc::clone(&readers) };
        for target in targets {
            if let Some(load) = by_key.get(&target.key).filter(|load| joinable(load.began)) {
                waits.push(Waiting { outcome: load.outcome.clone(), reader: Reader::of(&load.readers) });
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            let land: fn(Received<V>) -> Outcome<V> = |received| received.unwrap_or(Err(LoadError::Lost));
            let outcome = receiver.map(land).shared();
            waits.push(Waiting { outcome: outcome.clone(), reader: Reader::of(&readers) });
            by_key.insert(target.key.clone(), InFlight { began: now, outcome, readers: Arc::clone(&readers) });
            guard.loads.push(Load { target, sender });
        }
        (waits, guard)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LoadKey, InFlight<V>, RandomState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Future for Waiting<V> {
    type Output = Outcome<V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<V>> {
        self.outcome.poll_unpin(cx)
    }
}

impl<V> Waiting<V> {
    /// Lets the load go on whatever becomes of its readers.
    pub(super) fn keep(&self) {
        self.reader.0.waiting.fetch_add(1, Ordering::Relaxed);
    }
}

impl Reader {
    fn of(readers: &Arc<Readers>) -> Self {
        readers.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(readers))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.gone.notify_waiters();
        }
    }
}

impl<V> LoadGuard<V> {
    /// Waits until no reader waits for any of the keys. Another reader may join afterwards.
    pub(super) async fn unread(&self) {
        loop {
            // Made before the look, so that nothing in between is missed.
            let gone = self.readers.gone.notified();
            if !self.is_read() {
                return;
            }
            gone.await;
        }
    }

    /// Whether a reader waits for one of the keys.
    pub(super) fn is_read(&self) -> bool {
        self.readers.waiting.load(Ordering::Relaxed) > 0
    }

    /// Ends the loads, unless a reader waits for one of them.
    pub(super) fn give_up(self) -> Result<(), Self> {
        let mut by_key = self.single_flight.lock();
        // Readers join under this lock.
        if self.is_read() {
            drop(by_key);
            return Err(self);
        }
        self.forget(&mut by_key, self.targets().map(|target| &target.key));
        Ok(())
    }

    /// When the load began.
    pub(super) fn began(&self) -> Moment {
        self.began
    }

    /// The number of keys to load.
    pub(super) fn len(&self) -> usize {
        self.loads.len()
    }

    /// Whether there is nothing to load.
    pub(super) fn is_empty(&self) -> bool {
        self.loads.is_empty()
    }

    /// The keys to load.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.loads.iter().map(|load| &load.target)
    }

    /// The names of the keys to load.
    pub(super) fn names(&self) -> Vec<Box<str>> {
        self.targets().map(|target| target.key.name.clone()).collect()
    }

    /// The indices by which the load function knows the keys.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> {
        self.targets().map(|target| target.index)
    }

    /// Ends the loads for which `outcome` returns an outcome.
    pub(super) fn settle(&mut self, mut outcome: impl FnMut(&Target) -> Option<Outcome<V>>) {
        let outcomes: Vec<_> = self.targets().map(&mut outcome).collect();
        if outcomes.iter().all(Option::is_none) {
            return;
        }
        let settled = self.targets().zip(&outcomes).filter(|(_, outcome)| outcome.is_some());
        self.land(settled.map(|(target, _)| &target.key));
        for (load, outcome) in std::mem::take(&mut self.loads).into_iter().zip(outcomes) {
            match outcome {
                // All waiters may have left.
                Some(outcome) => drop(load.sender.send(outcome)),
                None => self.loads.push(load),
            }
        }
    }

    /// Moves the keys whose positions satisfy `other` into a guard of their own.
    pub(super) fn split(&mut self, other: impl Fn(usize) -> bool) -> Self {
        let (theirs, ours): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.loads).into_iter().enumerate().partition(|(position, _)| other(*position));
        self.loads = ours.into_iter().map(|(_, load)| load).collect();
        let loads = theirs.into_iter().map(|(_, load)| load).collect();
        let readers = Arc::clone(&self.readers);
        Self { single_flight: Arc::clone(&self.single_flight), began: self.began, loads, readers }
    }

    /// Takes over the keys of another part of the same load.
    pub(super) fn join(&mut self, mut other: Self) {
        self.loads.append(&mut other.loads);
    }

    /// Sends the outcomes, in the order of the keys, to all waiters.
    pub(super) fn fulfil(mut self, outcomes: impl IntoIterator<Item = Outcome<V>>) {
        self.land(self.targets().map(|target| &target.key));
        for (load, outcome) in std::mem::take(&mut self.loads).into_iter().zip(outcomes) {
            // All waiters may have left.
            let _ = load.sender.send(outcome);
        }
    }

    /// Sends an error to all waiters.
    pub(super) fn fail(self, error: &LoadError) {
        let count = self.len();
        self.fulfil((0..count).map(|_| Err(error.clone())));
    }

    /// Removes loads, so that nobody joins them any more. A later load of the same key may have replaced one of them.
    fn land<'a>(&self, keys: impl Iterator<Item = &'a LoadKey>) {
        self.forget(&mut self.single_flight.lock(), keys);
    }

    fn forget<'a>(
        &self,
        by_key: &mut HashMap<LoadKey, InFlight<V>, RandomState>,
        keys: impl Iterator<Item = &'a LoadKey>,
    ) {
        for key in keys {
            if by_key.get(key).is_some_and(|load| Arc::ptr_eq(&load.readers, &self.readers)) {
                by_key.remove(key);
            }
        }
    }
}

impl<V> Drop for LoadGuard<V> {
    fn drop(&mut self) {
        if !self.loads.is_empty() {
            self.land(self.targets().map(|target| &target.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::validity::Validity;

    /// Targets with the indices of the names.
    fn targets<const N: usize>(names: [&str; N]) -> Vec<Target> {
        let target = |(index, name): (usize, &str)| {
            let stripes = Validity::new(1, 1, 10).stripes(name, None);
            Target::new(index, name.into(), None, ValidityStamp { stripes, generation: 0, rules: 0 })
        };
        names.into_iter().enumerate().map(target).collect()
    }

    fn now(second: u64) -> Moment {
        Moment::NEVER.plus(Duration::from_secs(second))
    }

    #[test]
    fn a_later_load_of_the_same_key_outlives_an_earlier_one() {
        let single_flight: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (_, old) = single_flight.join(targets(["a"]), now(1), |_| true);
        let (_, new) = single_flight.join(targets(["a"]), now(9), |began| began == now(9));
        assert_eq!((old.len(), new.len()), (1, 1));
        drop(old);
        let (_, joined) = single_flight.join(targets(["a"]), now(9), |_| true);
        assert!(joined.is_empty(), "the later one is under way");
        drop(new);
        assert!(single_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn a_guard_that_is_dropped_is_lost() {
        let single_flight: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (waits, guard) = single_flight.join(targets(["a", "b"]), now(1), |_| true);
        drop(guard);
        for wait in waits {
            assert_eq!(wait.await.err(), Some(LoadError::Lost));
        }
        assert!(single_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn what_is_settled_is_no_longer_due() {
        let single_flight: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (mut waits, mut guard) = single_flight.join(targets(["a", "b", "c"]), now(1), |_| true);
        guard.settle(|target| (target.index == 1).then_some(Err(LoadError::Timeout)));
        assert_eq!(guard.indices().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(single_flight.lock().len(), 2);
        assert_eq!(waits.remove(1).await.err(), Some(LoadError::Timeout));
        guard.fail(&LoadError::Lost);
        assert!(single_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn a_split_guard_is_done_in_parts() {
        let single_flight: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (mut waits, mut guard) = single_flight.join(targets(["a", "b", "c"]), now(1), |_| true);
        let other = guard.split(|place| place == 1);
        assert_eq!(guard.indices().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(other.indices().collect::<Vec<_>>(), [1]);
        other.fail(&LoadError::Timeout);
        assert_eq!(single_flight.lock().len(), 2);
        assert_eq!(waits.remove(1).await.err(), Some(LoadError::Timeout));
        drop(guard);
        assert!(single_flight.lock().is_empty());
    }

    #[test]
    fn one_key_twice_is_one_load() {
        let single_flight: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (waits, guard) = single_flight.join(targets(["a", "a"]), now(1), |_| true);
        assert_eq!((waits.len(), guard.len()), (2, 1));
    }
}
