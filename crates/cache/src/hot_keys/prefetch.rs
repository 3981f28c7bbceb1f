//! Reading again, before anybody asks, what was read often and has gone from L1: evicted because L1 was full, or dropped
//! because it changed.
//!
//! A copy counts its reads, up to a few; one that goes leaves its name and its count behind, in a bounded room. Of those the
//! most read are loaded again, as any load is. What that may cost is bounded by what comes of it: for each copy that readers
//! had loaded a share of one may be loaded in vain, and one that somebody reads costs nothing. Where hardly any is read, as in a
//! scan, only now and then one is tried.
//!
//! On traces of a web shop the count of reads told better which key is next than what was read together with what: for each
//! copy loaded ahead it saved two to three times as many misses.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{Cache, CacheConfig, Counters, Key, LoadError, Loaded, Policy, Value, read::single_flight::LoadKey};

/// Reads that a copy counts; more make no difference.
pub(crate) const MOST_READS: u8 = 15;
/// So often a copy must have been read to be loaded again.
const WORTH: u8 = 4;
/// Copies that are loaded together.
const BATCH: usize = 32;
/// What may be saved up, in copies.
const MOST_CREDIT: f64 = 32.0;
/// The share of copies loaded ahead that must be read for it to go on as it does.
const PAYS: f64 = 0.2;
/// By how much less is loaded ahead where that does not pay.
const TRIAL: f64 = 1.0 / 16.0;
/// The weight of one copy in the share of those that were read: some sixty count.
const WEIGHT: f64 = 1.0 / 64.0;
/// Names that are remembered at most; each takes some 100 bytes.
const MOST_NAMES: u64 = 50_000;

/// What has gone from L1, and what may be spent on reading it again.
pub(crate) struct Prefetch {
    /// Of one copy, for each that readers had loaded; 0: nothing is loaded ahead.
    share: f64,
    gone: Mutex<Gone>,
    wake: Notify,
}

/// What a copy that comes into L1 is to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// How often the key was read before, and by those who wait for the copy.
    pub(crate) reads: u8,
    /// Whether it was loaded ahead.
    pub(crate) ahead: bool,
}

struct Gone {
    places: HashMap<Arc<str>, Place, RandomState>,
    /// The names by how often they were read, each with the number of its place; the last to go are at the end. A name whose
    /// place has another number has left since.
    by_reads: [VecDeque<(u64, Arc<str>)>; MOST_READS as usize + 1],
    queued: usize,
    room: usize,
    /// How many have been read often enough.
    worth: usize,
    next: u64,
    credit: f64,
    paying: f64,
}

/// How it stands with a name.
#[derive(Debug, Clone, Copy)]
enum Place {
    Gone { reads: u8, number: u64 },
    Coming { reads: u8 },
}

impl Prefetch {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let room = usize::try_from((config.l1_entries / 2).clamp(1, MOST_NAMES)).unwrap_or(1);
        Self { share: config.prefetch.clamp(0.0, 1.0), gone: Mutex::new(Gone::new(room)), wake: Notify::new() }
    }

    /// A copy has gone that was read so often. `unread` says that it was loaded ahead and nobody read it.
    pub(crate) fn lost(&self, name: &Arc<str>, reads: u8, unread: bool, counters: &Counters) {
        if self.share <= 0.0 {
            return;
        }
        let mut gone = self.gone();
        let reads = if unread {
            counters.prefetched_in_vain.one();
            gone.paying -= gone.paying * WEIGHT;
            // The less it is read, the sooner it is given up.
            reads / 2
        } else {
            reads
        };
        gone.put(name, reads.min(MOST_READS));
        self.wake(&gone);
    }

    /// A copy of a key comes into L1.
    pub(crate) fn found(&self, name: &str) -> Past {
        let fresh = Past { reads: 1, ahead: false };
        if self.share <= 0.0 {
            return fresh;
        }
        let mut gone = self.gone();
        let past = match gone.take(name) {
            Some(Place::Coming { reads }) => return Past { reads, ahead: true },
            Some(Place::Gone { reads, .. }) => Past { reads: (reads + 1).min(MOST_READS), ..fresh },
            None => fresh,
        };
        let share = if gone.paying < PAYS { self.share * TRIAL } else { self.share };
        gone.credit = (gone.credit + share).min(MOST_CREDIT);
        self.wake(&gone);
        past
    }

    /// Somebody has read a copy that was loaded ahead.
    #[cold]
    pub(crate) fn paid(&self, counters: &Counters) {
        counters.prefetch_hits.one();
        let mut gone = self.gone();
        gone.paying += (1.0 - gone.paying) * WEIGHT;
        gone.credit = (gone.credit + 1.0).min(MOST_CREDIT);
        self.wake(&gone);
    }

    /// Waits until there is something to load ahead, and says what.
    async fn next(&self) -> Vec<Arc<str>> {
        loop {
            let names = self.gone().best();
            if !names.is_empty() {
                return names;
            }
            self.wake.notified().await;
        }
    }

    /// Whatever has not come will not.
    fn ended(&self, names: &[Arc<str>]) {
        let mut gone = self.gone();
        for name in names {
            if matches!(gone.places.get(name), Some(Place::Coming { .. })) {
                gone.places.remove(name);
            }
        }
    }

    fn wake(&self, gone: &Gone) {
        if gone.worth > 0 && gone.credit >= 1.0 {
            self.wake.notify_one();
        }
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gone {
    fn new(room: usize) -> Self {
        Self {
            places: HashMap::default(),
            by_reads: Default::default(),
            queued: 0,
            room,
            worth: 0,
            next: 0,
            credit: 0.0,
            // Until it is known better.
            paying: 0.5,
        }
    }

    fn put(&mut self, name: &Arc<str>, reads: u8) {
        self.take(name);
        if reads == 0 {
            return;
        }
        if self.places.len() >= self.room && !self.forget_least() {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.places.insert(Arc::clone(name), Place::Gone { reads, number });
        self.by_reads[usize::from(reads)].push_back((number, Arc::clone(name)));
        self.queued += 1;
        self.worth += usize::from(reads >= WORTH);
        if self.queued > 2 * self.room {
            self.tidy();
        }
    }

    fn take(&mut self, name: &str) -> Option<Place> {
        let place = self.places.remove(name)?;
        if let Place::Gone { reads, .. } = place {
            self.worth -= usize::from(reads >= WORTH);
        }
        Some(place)
    }

    /// Makes room: of those that were read least the first that went. Returns whether there was one.
    fn forget_least(&mut self) -> bool {
        for reads in 1..self.by_reads.len() {
            while let Some((number, name)) = self.by_reads[reads].pop_front() {
                self.queued -= 1;
                if self.is_at(&name, number) {
                    self.take(&name);
                    return true;
                }
            }
        }
        false
    }

    /// Takes out what was read most, as much as may be spent on, and has it expected.
    fn best(&mut self) -> Vec<Arc<str>> {
        let mut best = Vec::new();
        for reads in (WORTH..=MOST_READS).rev() {
            while self.credit >= 1.0 && best.len() < BATCH {
                let Some((number, name)) = self.by_reads[usize::from(reads)].pop_back() else { break };
                self.queued -= 1;
                if self.is_at(&name, number) {
                    self.take(&name);
                    self.places.insert(Arc::clone(&name), Place::Coming { reads });
                    self.credit -= 1.0;
                    best.push(name);
                }
            }
        }
        best
    }

    fn is_at(&self, name: &str, place: u64) -> bool {
        matches!(self.places.get(name), Some(Place::Gone { number, .. }) if *number == place)
    }

    /// Drops the names that have left.
    fn tidy(&mut self) {
        let places = &self.places;
        for names in &mut self.by_reads {
            names.retain(|(at, name)| matches!(places.get(name), Some(Place::Gone { number, .. }) if number == at));
        }
        self.queued = self.by_reads.iter().map(VecDeque::len).sum();
    }
}

impl<V: Value> Cache<V> {
    /// Waits until there are items that are worth loading before somebody asks for them, and says which, by the names of their
    /// keys. They have to be [loaded](Self::prefetch), or it is as if they had been lost.
    pub async fn worth_prefetching(&self) -> Vec<Arc<str>> {
        self.shared().prefetch.next().await
    }

    /// Loads items that are [worth it](Self::worth_prefetching) into L1, as far as they are not there. `load` is given the
    /// numbers of the keys to load. While the database is away or other loads wait, nothing is loaded.
    pub async fn prefetch<F, Fut>(&self, names: &[Arc<str>], load: F)
    where
        F: Fn(Vec<usize>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, LoadError>> + Send,
    {
        let shared = self.shared();
        let read_clock = self.read_clock();
        let absent: Vec<usize> = (0..names.len())
            .filter(|&number| shared.l1.get(&names[number]).is_none_or(|entry| !self.may_serve(&entry, read_clock)))
            .collect();
        if self.proven() && shared.admission.is_idle() && !absent.is_empty() {
            let keys = absent.iter().map(|&number| Key { name: (&*names[number]).into(), term: None });
            let flights: Vec<LoadKey> = keys.map(|key| self.load_key(&key)).collect();
            let (waits, guard) = shared.flights.join(flights, self.clock().now(), |_| true);
            self.counters().prefetched.add(guard.len() as u64);
            if !guard.is_empty() {
                let terms = vec![None; absent.len()];
                self.start(guard, Policy::Item, terms, absent, false, load);
            }
            for wait in waits {
                // Whoever asks for it is told what went wrong.
                let _ = wait.await;
            }
        }
        shared.prefetch.ended(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefetch(share: f64, entries: u64) -> (Prefetch, Counters) {
        let config = CacheConfig { prefetch: share, l1_entries: entries, ..CacheConfig::default() };
        (Prefetch::new(&config), Counters::default())
    }

    fn name(number: usize) -> Arc<str> {
        format!("item:{number}").into()
    }

    /// So many copies that readers had loaded.
    fn load(prefetch: &Prefetch, copies: usize) {
        for number in 0..copies {
            prefetch.found(&format!("loaded:{number}"));
        }
    }

    fn best(prefetch: &Prefetch) -> Vec<String> {
        prefetch.gone().best().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_most_read_come_first_and_the_little_read_not_at_all() {
        let (prefetch, counters) = prefetch(0.5, 1_000);
        for (number, reads) in [(1, WORTH - 1), (2, WORTH), (3, MOST_READS), (4, 9)] {
            prefetch.lost(&name(number), reads, false, &counters);
        }
        assert!(best(&prefetch).is_empty(), "nothing was loaded that could be spent");
        load(&prefetch, 4);
        assert_eq!(best(&prefetch), ["item:3", "item:4"]);
        load(&prefetch, 10);
        assert_eq!(best(&prefetch), ["item:2"]);
    }

    #[test]
    fn what_readers_have_loaded_meanwhile_keeps_its_count() {
        let (prefetch, counters) = prefetch(1.0, 1_000);
        prefetch.lost(&name(1), 7, false, &counters);
        assert_eq!(prefetch.found("item:1"), Past { reads: 8, ahead: false });
        assert_eq!(prefetch.found("item:1"), Past { reads: 1, ahead: false });
        assert!(best(&prefetch).is_empty());
    }

    #[test]
    fn what_comes_ahead_is_known_as_such_and_what_does_not_come_is_forgotten() {
        let (prefetch, counters) = prefetch(1.0, 1_000);
        load(&prefetch, 4);
        for number in [1, 2] {
            prefetch.lost(&name(number), 5, false, &counters);
        }
        assert_eq!(prefetch.gone().best().len(), 2);
        assert_eq!(prefetch.found("item:1"), Past { reads: 5, ahead: true });
        prefetch.ended(&[name(1), name(2)]);
        assert!(prefetch.gone().places.is_empty());
    }

    #[test]
    fn what_is_read_costs_nothing_and_what_is_not_is_given_up() {
        let (prefetch, counters) = prefetch(0.1, 1_000);
        load(&prefetch, 11);
        let mut reads = MOST_READS;
        for _ in 0..100 {
            prefetch.lost(&name(1), reads, false, &counters);
            assert_eq!(best(&prefetch), ["item:1"]);
            assert!(prefetch.found("item:1").ahead);
            prefetch.paid(&counters);
        }
        let mut loaded = 0;
        load(&prefetch, 100);
        while reads >= WORTH {
            prefetch.lost(&name(1), reads, loaded > 0, &counters);
            loaded += best(&prefetch).len();
            reads /= 2;
        }
        assert_eq!((loaded, counters.prefetch_hits.get(), counters.prefetched_in_vain.get()), (1, 100, 1));
    }

    #[test]
    fn where_it_does_not_pay_only_one_in_sixteen_is_tried() {
        let (prefetch, counters) = prefetch(1.0, 10_000);
        let mut loaded = [0, 0];
        for number in 0..2_000 {
            load(&prefetch, 1);
            prefetch.lost(&name(number), 8, false, &counters);
            let names = prefetch.gone().best();
            for name in names {
                loaded[number / 1_000] += 1;
                prefetch.found(&name);
                prefetch.lost(&name, 1, true, &counters);
            }
        }
        assert!((55..=70).contains(&loaded[1]), "{loaded:?}");
        assert!(loaded[0] > 100, "{loaded:?}");
    }

    #[test]
    fn the_room_is_bounded_and_keeps_the_most_read() {
        let (prefetch, counters) = prefetch(1.0, 20);
        for number in 0..1_000 {
            prefetch.lost(&name(number), if number < 5 { 9 } else { 2 }, false, &counters);
            // One that comes and goes leaves nothing behind.
            prefetch.lost(&name(7), 3, false, &counters);
        }
        let gone = prefetch.gone();
        assert!(gone.places.len() <= 10 && gone.queued <= 20, "{} {}", gone.places.len(), gone.queued);
        assert_eq!(gone.worth, 5);
    }

    #[test]
    fn without_a_share_nothing_is_remembered() {
        let (prefetch, counters) = prefetch(0.0, 1_000);
        prefetch.lost(&name(1), 9, false, &counters);
        load(&prefetch, 100);
        assert!(best(&prefetch).is_empty() && prefetch.gone().places.is_empty());
    }
}
