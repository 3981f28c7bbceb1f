//! Loads under way, so that many readers of one cold key cost one load.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use futures_util::{FutureExt as _, future::Shared};
use tokio::sync::oneshot;

use crate::{LoadError, Moment, l1::Entry, validity::ValidityStamp};

/// What a load made of one key.
pub(crate) type Outcome<V> = Result<Arc<Entry<V>>, LoadError>;

/// The wait for a load. It ends also when the load is lost: with [`LoadError::Lost`].
pub(crate) type Waiting<V> =
    Shared<futures_util::future::Map<oneshot::Receiver<Outcome<V>>, fn(Received<V>) -> Outcome<V>>>;

type Received<V> = Result<Outcome<V>, oneshot::error::RecvError>;

/// A load of one state of one key: who has learned of a change since joins no load begun before.
pub(crate) type LoadKey = (Box<str>, ValidityStamp);

/// The loads under way.
pub(crate) struct SingleFlight<V> {
    by_key: Mutex<HashMap<LoadKey, Flight<V>, RandomState>>,
}

struct Flight<V> {
    began: Moment,
    waiting: Waiting<V>,
}

/// The guard to load some keys. When it is dropped, done or not, the loads are no longer under way.
pub(crate) struct LoadGuard<V> {
    flights: Arc<SingleFlight<V>>,
    began: Moment,
    keys: Vec<Due<V>>,
}

/// One key to load: its number among the keys that were to be joined, and who is told.
struct Due<V> {
    number: usize,
    key: LoadKey,
    sender: oneshot::Sender<Outcome<V>>,
}

impl<V> SingleFlight<V> {
    pub(crate) fn new() -> Self {
        Self { by_key: Mutex::default() }
    }

    /// Joins the loads under way for `keys`, as far as `joinable` agrees to when they began, and takes on the guard for the
    /// others. The waits are in the order of `keys`.
    pub(crate) fn join(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = LoadKey>,
        now: Moment,
        joinable: impl Fn(Moment) -> bool,
    ) -> (Vec<Waiting<V>>, LoadGuard<V>) {
        let mut flights = self.lock();
        let mut waits = Vec::new();
        let mut guard = LoadGuard { flights: Arc::clone(self), began: now, keys: Vec::new() };
        for (number, key) in keys.into_iter().enumerate() {
            if let Some(flight) = flights.get(&key).filter(|flight| joinable(flight.began)) {
                waits.push(flight.waiting.clone());
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            let land: fn(Received<V>) -> Outcome<V> = |received| received.unwrap_or(Err(LoadError::Lost));
            let waiting = receiver.map(land).shared();
            waits.push(waiting.clone());
            flights.insert(key.clone(), Flight { began: now, waiting });
            guard.keys.push(Due { number, key, sender });
        }
        (waits, guard)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LoadKey, Flight<V>, RandomState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> LoadGuard<V> {
    /// When the load began.
    pub(crate) fn began(&self) -> Moment {
        self.began
    }

    /// How many keys there are to load.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nothing to load.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys to load, with what was captured before.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &LoadKey> {
        self.keys.iter().map(|due| &due.key)
    }

    /// Their numbers among the keys that were to be joined.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().map(|due| due.number)
    }

    /// Drops from the guard what `outcome` has an outcome for without a load.
    pub(crate) fn settle(&mut self, mut outcome: impl FnMut(usize, &LoadKey) -> Option<Outcome<V>>) {
        let outcomes: Vec<_> = self.keys.iter().map(|due| outcome(due.number, &due.key)).collect();
        if outcomes.iter().all(Option::is_none) {
            return;
        }
        let settled = self.keys.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_some());
        self.land(settled.map(|(due, _)| &due.key));
        for (due, outcome) in std::mem::take(&mut self.keys).into_iter().zip(outcomes) {
            match outcome {
                // Nobody may be left who waits.
                Some(outcome) => drop(due.sender.send(outcome)),
                None => self.keys.push(due),
            }
        }
    }

    /// Takes some keys out into a guard of their own: those of which `other` is true, by their places here.
    pub(crate) fn split(&mut self, other: impl Fn(usize) -> bool) -> Self {
        let (theirs, ours): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.keys).into_iter().enumerate().partition(|(place, _)| other(*place));
        self.keys = ours.into_iter().map(|(_, due)| due).collect();
        let keys = theirs.into_iter().map(|(_, due)| due).collect();
        Self { flights: Arc::clone(&self.flights), began: self.began, keys }
    }

    /// Takes on the keys of another part of the same guard.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.keys.append(&mut other.keys);
    }

    /// Tells everybody who waits; the outcomes are in the order of the keys.
    pub(crate) fn fulfil(mut self, outcomes: impl IntoIterator<Item = Outcome<V>>) {
        self.land(self.keys());
        for (due, outcome) in std::mem::take(&mut self.keys).into_iter().zip(outcomes) {
            // Nobody may be left who waits.
            let _ = due.sender.send(outcome);
        }
    }

    /// Tells everybody who waits that it failed.
    pub(crate) fn fail(self, error: &LoadError) {
        let count = self.len();
        self.fulfil((0..count).map(|_| Err(error.clone())));
    }

    /// From here on nobody joins. A later flight of the same key may have taken the place of one of these.
    fn land<'a>(&self, keys: impl Iterator<Item = &'a LoadKey>) {
        let mut flights = self.flights.lock();
        for key in keys {
            if flights.get(key).is_some_and(|flight| flight.began == self.began) {
                flights.remove(key);
            }
        }
    }
}

impl<V> Drop for LoadGuard<V> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.land(self.keys());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::validity::Validity;

    fn key(name: &str) -> LoadKey {
        (name.into(), ValidityStamp { stripes: Validity::new(1, 1, 10).stripes(name, None), generation: 0, rules: 0 })
    }

    fn now(second: u64) -> Moment {
        Moment::NEVER.plus(Duration::from_secs(second))
    }

    #[test]
    fn a_later_flight_of_the_same_key_outlives_an_earlier_one() {
        let flights: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let key = key("a");
        let (_, old) = flights.join([key.clone()], now(1), |_| true);
        let (_, new) = flights.join([key.clone()], now(9), |began| began == now(9));
        assert_eq!((old.len(), new.len()), (1, 1));
        drop(old);
        let (_, joined) = flights.join([key.clone()], now(9), |_| true);
        assert!(joined.is_empty(), "the later one is under way");
        drop(new);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_duty_that_is_dropped_is_lost() {
        let flights: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (waits, guard) = flights.join([key("a"), key("b")], now(1), |_| true);
        drop(guard);
        for wait in waits {
            assert_eq!(wait.await.err(), Some(LoadError::Lost));
        }
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn what_is_settled_is_no_longer_due() {
        let flights: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (mut waits, mut guard) = flights.join([key("a"), key("b"), key("c")], now(1), |_| true);
        guard.settle(|number, _| (number == 1).then_some(Err(LoadError::Timeout)));
        assert_eq!(guard.numbers().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(flights.lock().len(), 2);
        assert_eq!(waits.remove(1).await.err(), Some(LoadError::Timeout));
        guard.fail(&LoadError::Lost);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_split_duty_is_done_in_parts() {
        let flights: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let (mut waits, mut guard) = flights.join([key("a"), key("b"), key("c")], now(1), |_| true);
        let other = guard.split(|place| place == 1);
        assert_eq!(guard.numbers().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(other.numbers().collect::<Vec<_>>(), [1]);
        other.fail(&LoadError::Timeout);
        assert_eq!(flights.lock().len(), 2);
        assert_eq!(waits.remove(1).await.err(), Some(LoadError::Timeout));
        drop(guard);
        assert!(flights.lock().is_empty());
    }

    #[test]
    fn one_key_twice_is_one_flight() {
        let flights: Arc<SingleFlight<()>> = Arc::new(SingleFlight::new());
        let key = key("a");
        let (waits, guard) = flights.join([key.clone(), key], now(1), |_| true);
        assert_eq!((waits.len(), guard.len()), (2, 1));
    }
}
