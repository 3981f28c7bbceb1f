//! Prefetching: reloading, before anybody asks, keys that were read often and have left L1, evicted because L1 was full or dropped
//! because they changed.
//!
//! A copy counts its reads, up to a few. A copy that leaves L1 leaves its name and its count behind, in bounded space. The most
//! read of these keys are loaded again, like any load. The budget depends on success: for each copy that readers had loaded, a
//! share of one may be prefetched in vain, and a prefetched copy that is read is free. Where hardly any is read, as in a scan,
//! prefetching is only tried now and then.
//!
//! On traces of a web shop the count of reads predicted the next key better than co-occurrence of reads did: per prefetched copy,
//! it saved two to three times as many misses.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{
    l1::{MOST_READS, ReadCount},
    stats::Counters,
};

/// Reads that make a key worth prefetching.
const WORTH: u8 = 4;
/// Copies that are prefetched together.
const BATCH: usize = 32;
/// The largest credit, in copies.
const MOST_CREDIT: f64 = 32.0;
/// The share of prefetched copies that must be read for prefetching to continue at its full rate.
const PAYS: f64 = 0.2;
/// The fraction of the full rate at which prefetching continues otherwise.
const TRIAL: f64 = 1.0 / 16.0;
/// The weight of one copy in the moving average of success: some sixty copies count.
const WEIGHT: f64 = 1.0 / 64.0;
/// Names that are remembered at most; each takes some 100 bytes.
const MOST_NAMES: u64 = 50_000;

/// The keys that have left L1, and the credit for prefetching them.
pub(crate) struct Prefetch {
    /// The credit for each copy that readers had loaded; 0: nothing is prefetched.
    share: f64,
    gone: Mutex<Gone>,
    wake: Notify,
    counters: Arc<Counters>,
}

struct Gone {
    places: HashMap<Arc<str>, Place, RandomState>,
    /// The names by number of reads, each with the number of its place; the latest to leave L1 are at the end. A name whose place
    /// has another number is obsolete.
    by_reads: [VecDeque<(u64, Arc<str>)>; MOST_READS as usize + 1],
    queued: usize,
    room: usize,
    /// How many names are worth prefetching.
    worth: usize,
    next: u64,
    credit: f64,
    /// The moving average of success: the share of prefetched copies that were read.
    paying: f64,
}

/// The state of a name.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The copy has left L1.
    Gone { reads: u8, number: u64 },
    /// The copy is being prefetched.
    Coming { reads: u8 },
}

impl Prefetch {
    /// `share` is the credit for each copy that readers had loaded, and `entries` the capacity of L1.
    pub(crate) fn new(share: f64, entries: u64, counters: Arc<Counters>) -> Self {
        let room = usize::try_from((entries / 2).clamp(1, MOST_NAMES)).unwrap_or(1);
        let gone = Mutex::new(Gone::new(room));
        Self { share: share.clamp(0.0, 1.0), gone, wake: Notify::new(), counters }
    }

    /// Records a copy that has left L1.
    pub(crate) fn lost(&self, name: &Arc<str>, ReadCount { reads, ahead }: ReadCount) {
        if self.share <= 0.0 {
            return;
        }
        let mut gone = self.gone();
        let reads = if ahead {
            self.counters.prefetched_in_vain.one();
            gone.paying -= gone.paying * WEIGHT;
            // A key that nobody reads is soon given up.
            reads / 2
        } else {
            reads
        };
        gone.put(name, reads.min(MOST_READS));
        self.wake(&gone);
    }

    /// Records a copy that enters L1. Returns the reads with which the copy begins, including those of its waiters.
    pub(crate) fn found(&self, name: &str) -> ReadCount {
        let fresh = ReadCount { reads: 1, ahead: false };
        if self.share <= 0.0 {
            return fresh;
        }
        let mut gone = self.gone();
        let past = match gone.take(name) {
            Some(Place::Coming { reads }) => return ReadCount { reads, ahead: true },
            Some(Place::Gone { reads, .. }) => ReadCount { reads: (reads + 1).min(MOST_READS), ..fresh },
            None => fresh,
        };
        let share = if gone.paying < PAYS { self.share * TRIAL } else { self.share };
        gone.credit = (gone.credit + share).min(MOST_CREDIT);
        self.wake(&gone);
        past
    }

    /// Records the first read of a prefetched copy.
    #[cold]
    pub(crate) fn paid(&self) {
        self.counters.prefetch_hits.one();
        let mut gone = self.gone();
        gone.paying += (1.0 - gone.paying) * WEIGHT;
        gone.credit = (gone.credit + 1.0).min(MOST_CREDIT);
        self.wake(&gone);
    }

    /// Waits until there are keys to prefetch, and returns their names.
    pub(crate) async fn next(&self) -> Vec<Arc<str>> {
        loop {
            let names = self.gone().best();
            if !names.is_empty() {
                return names;
            }
            self.wake.notified().await;
        }
    }

    /// Records the end of a prefetch: names that have not entered L1 by now will not.
    pub(crate) fn ended(&self, names: &[Arc<str>]) {
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
            // A guess until there is experience.
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

    /// Makes room by forgetting the name with the fewest reads that left L1 first. Returns whether there was one.
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

    /// Takes the most read names that the credit allows, and marks them as coming.
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

    /// Drops the obsolete names.
    fn tidy(&mut self) {
        let places = &self.places;
        for names in &mut self.by_reads {
            names.retain(|(at, name)| matches!(places.get(name), Some(Place::Gone { number, .. }) if number == at));
        }
        self.queued = self.by_reads.iter().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefetch(share: f64, entries: u64) -> (Prefetch, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Prefetch::new(share, entries, Arc::clone(&counters)), counters)
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
        let (prefetch, _) = prefetch(0.5, 1_000);
        for (number, reads) in [(1, WORTH - 1), (2, WORTH), (3, MOST_READS), (4, 9)] {
            prefetch.lost(&name(number), ReadCount { reads, ahead: false });
        }
        assert!(best(&prefetch).is_empty(), "nothing was loaded that could be spent");
        load(&prefetch, 4);
        assert_eq!(best(&prefetch), ["item:3", "item:4"]);
        load(&prefetch, 10);
        assert_eq!(best(&prefetch), ["item:2"]);
    }

    #[test]
    fn what_readers_have_loaded_meanwhile_keeps_its_count() {
        let (prefetch, _) = prefetch(1.0, 1_000);
        prefetch.lost(&name(1), ReadCount { reads: 7, ahead: false });
        assert_eq!(prefetch.found("item:1"), ReadCount { reads: 8, ahead: false });
        assert_eq!(prefetch.found("item:1"), ReadCount { reads: 1, ahead: false });
        assert!(best(&prefetch).is_empty());
    }

    #[test]
    fn what_comes_ahead_is_known_as_such_and_what_does_not_come_is_forgotten() {
        let (prefetch, _) = prefetch(1.0, 1_000);
        load(&prefetch, 4);
        for number in [1, 2] {
            prefetch.lost(&name(number), ReadCount { reads: 5, ahead: false });
        }
        assert_eq!(prefetch.gone().best().len(), 2);
        assert_eq!(prefetch.found("item:1"), ReadCount { reads: 5, ahead: true });
        prefetch.ended(&[name(1), name(2)]);
        assert!(prefetch.gone().places.is_empty());
    }

    #[test]
    fn what_is_read_costs_nothing_and_what_is_not_is_given_up() {
        let (prefetch, counters) = prefetch(0.1, 1_000);
        load(&prefetch, 11);
        let mut reads = MOST_READS;
        for _ in 0..100 {
            prefetch.lost(&name(1), ReadCount { reads, ahead: false });
            assert_eq!(best(&prefetch), ["item:1"]);
            assert!(prefetch.found("item:1").ahead);
            prefetch.paid();
        }
        let mut loaded = 0;
        load(&prefetch, 100);
        while reads >= WORTH {
            prefetch.lost(&name(1), ReadCount { reads, ahead: loaded > 0 });
            loaded += best(&prefetch).len();
            reads /= 2;
        }
        assert_eq!((loaded, counters.prefetch_hits.get(), counters.prefetched_in_vain.get()), (1, 100, 1));
    }

    #[test]
    fn where_it_does_not_pay_only_one_in_sixteen_is_tried() {
        let (prefetch, _) = prefetch(1.0, 10_000);
        let mut loaded = [0, 0];
        for number in 0..2_000 {
            load(&prefetch, 1);
            prefetch.lost(&name(number), ReadCount { reads: 8, ahead: false });
            let names = prefetch.gone().best();
            for name in names {
                loaded[number / 1_000] += 1;
                prefetch.found(&name);
                prefetch.lost(&name, ReadCount { reads: 1, ahead: true });
            }
        }
        assert!((55..=70).contains(&loaded[1]), "{loaded:?}");
        assert!(loaded[0] > 100, "{loaded:?}");
    }

    #[test]
    fn the_room_is_bounded_and_keeps_the_most_read() {
        let (prefetch, _) = prefetch(1.0, 20);
        for number in 0..1_000 {
            prefetch.lost(&name(number), ReadCount { reads: if number < 5 { 9 } else { 2 }, ahead: false });
            // One that comes and goes leaves nothing behind.
            prefetch.lost(&name(7), ReadCount { reads: 3, ahead: false });
        }
        let gone = prefetch.gone();
        assert!(gone.places.len() <= 10 && gone.queued <= 20, "{} {}", gone.places.len(), gone.queued);
        assert_eq!(gone.worth, 5);
    }

    #[test]
    fn without_a_share_nothing_is_remembered() {
        let (prefetch, _) = prefetch(0.0, 1_000);
        prefetch.lost(&name(1), ReadCount { reads: 9, ahead: false });
        load(&prefetch, 100);
        assert!(best(&prefetch).is_empty() && prefetch.gone().places.is_empty());
    }
}
