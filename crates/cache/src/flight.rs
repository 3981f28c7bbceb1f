//! Loads under way, so that many readers of one cold key cost one load.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use futures_util::{FutureExt as _, future::Shared};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::{LoadError, Moment, knowledge::Captured, l1::Entry};

/// What a load made of one key.
pub(crate) type Outcome<V> = Result<Arc<Entry<V>>, LoadError>;

/// The wait for a load. It ends also when the load is lost: with [`LoadError::Lost`].
pub(crate) type Waiting<V> =
    Shared<futures_util::future::Map<oneshot::Receiver<Outcome<V>>, fn(Received<V>) -> Outcome<V>>>;

type Received<V> = Result<Outcome<V>, oneshot::error::RecvError>;

/// A load of one state of one key: who has learned of a change since joins no load begun before.
pub(crate) type FlightKey = (Box<str>, Captured);

/// The loads under way.
pub(crate) struct Flights<V> {
    by_key: Mutex<HashMap<FlightKey, Flight<V>, RandomState>>,
}

struct Flight<V> {
    began: Moment,
    waiting: Waiting<V>,
}

/// The duty to load some keys. When it is dropped, done or not, the loads are no longer under way.
pub(crate) struct Duty<V> {
    flights: Arc<Flights<V>>,
    began: Moment,
    keys: Vec<(FlightKey, oneshot::Sender<Outcome<V>>)>,
}

impl<V> Flights<V> {
    pub(crate) fn new() -> Self {
        Self { by_key: Mutex::default() }
    }

    /// Joins the loads under way for `keys`, as far as `joinable` agrees to when they began, and takes on the duty for the
    /// others. The waits are in the order of `keys`; the numbers say which of them the duty is for.
    pub(crate) fn join(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = FlightKey>,
        now: Moment,
        joinable: impl Fn(Moment) -> bool,
    ) -> (Vec<Waiting<V>>, Vec<usize>, Duty<V>) {
        let mut flights = self.lock();
        let mut waits = Vec::new();
        let mut own = Vec::new();
        let mut duty = Duty { flights: Arc::clone(self), began: now, keys: Vec::new() };
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
            own.push(number);
            duty.keys.push((key, sender));
        }
        (waits, own, duty)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Flight<V>, RandomState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Duty<V> {
    /// When the load began.
    pub(crate) fn began(&self) -> Moment {
        self.began
    }

    /// The keys to load, with what was captured before.
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &FlightKey> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// Tells everybody who waits; the outcomes are in the order of the keys.
    pub(crate) fn fulfil(mut self, outcomes: impl IntoIterator<Item = Outcome<V>>) {
        self.land();
        for ((_, sender), outcome) in std::mem::take(&mut self.keys).into_iter().zip(outcomes) {
            // Nobody may be left who waits.
            let _ = sender.send(outcome);
        }
    }

    /// From here on nobody joins. A later flight of the same key may have taken the place of one of these.
    fn land(&self) {
        let mut flights = self.flights.lock();
        for (key, _) in &self.keys {
            if flights.get(key).is_some_and(|flight| flight.began == self.began) {
                flights.remove(key);
            }
        }
    }
}

impl<V> Drop for Duty<V> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.land();
        }
    }
}

/// How many loads may be under way and how many may wait for that.
pub(crate) struct Admission {
    permits: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
}

impl Admission {
    pub(crate) fn new(at_once: usize, max_waiting: usize) -> Self {
        Self { permits: Semaphore::new(at_once), waiting: AtomicUsize::new(0), max_waiting }
    }

    /// Whether one more load would find a place, now or after waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.permits.available_permits() > 0 || self.waiting.load(Ordering::Relaxed) < self.max_waiting
    }

    /// Waits for its turn.
    pub(crate) async fn enter(&self, at_most: Duration) -> Result<SemaphorePermit<'_>, LoadError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(LoadError::Overloaded);
        }
        let permit = tokio::time::timeout(at_most, self.permits.acquire()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(LoadError::Lost),
            Err(_) => Err(LoadError::Overloaded),
        }
    }
}
