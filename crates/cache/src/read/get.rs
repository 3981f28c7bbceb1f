//! Reads from L1, and the test that every copy there must pass.

use std::sync::Arc;

use crate::{
    Cache, Moment,
    hot_keys::sketch::sampled,
    l1::expiry::Stage,
    l1::{Entry, Value},
    validity::within,
};

/// Whether a copy may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Valid,
    /// It may, and is to be loaded anew by whoever finds it so and can.
    Due,
    /// Nothing that touches it was learned, but what was learned is not up to date.
    Unproven,
    /// Nothing that touches it was learned, but its time has passed.
    Expired,
    /// Something that touches it was learned.
    Invalid,
}

/// The proof of freshness and the time, read before any copy is looked at, and in this order: a suspended thread then
/// sees too old a proof, never too young a one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadClock {
    pub(crate) proven: Moment,
    pub(crate) now: Moment,
}

/// Reads copies from L1, for as long as one call takes: what it judges by was read when it was made.
pub struct Reader<'a, V: Value> {
    cache: &'a Cache<V>,
    read_clock: ReadClock,
    hits: u64,
    not_found: u64,
}

impl<V: Value> Reader<'_, V> {
    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&mut self, name: &str) -> Option<Arc<Entry<V>>> {
        let entry = self.cache.shared().l1.get(name)?;
        if self.cache.judge(&entry, self.read_clock, false) != Verdict::Valid {
            return None;
        }
        if sampled() {
            self.cache.shared().hot.note(name, self.read_clock.now);
        }
        self.cache.note_read(&entry);
        self.hits += 1;
        self.not_found += u64::from(entry.value.is_none());
        Some(entry)
    }

    /// The time by which it judges.
    pub fn now(&self) -> Moment {
        self.read_clock.now
    }
}

impl<V: Value> Drop for Reader<'_, V> {
    fn drop(&mut self) {
        let counters = self.cache.counters();
        if self.hits > 0 {
            counters.hits.add(self.hits);
        }
        if self.not_found > 0 {
            counters.not_found_hits.add(self.not_found);
        }
    }
}

impl<V: Value> Cache<V> {
    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&self, name: &str) -> Option<Arc<Entry<V>>> {
        self.reader().get(name)
    }

    /// Reads several copies from L1 under one look at the clock.
    pub fn reader(&self) -> Reader<'_, V> {
        Reader { cache: self, read_clock: self.read_clock(), hits: 0, not_found: 0 }
    }

    pub(crate) fn read_clock(&self) -> ReadClock {
        let proven = self.shared().validity.proven();
        ReadClock { proven, now: self.clock().now() }
    }

    /// Judges a copy for a reader who can load it anew or cannot.
    pub(crate) fn judge(&self, entry: &Entry<V>, ReadClock { proven, now }: ReadClock, can_load: bool) -> Verdict {
        let bound = self.config().staleness_bound;
        if !entry.stands(&self.shared().validity) {
            return Verdict::Invalid;
        }
        let fresh = within(bound, proven, now) || within(bound, entry.own_proof(), now);
        if now < entry.due {
            return if fresh { Verdict::Valid } else { Verdict::Unproven };
        }
        match entry.stage(now, can_load && fresh, || self.jitter().unit()) {
            Stage::Expired => Verdict::Expired,
            _ if !fresh => Verdict::Unproven,
            Stage::Live => Verdict::Valid,
            Stage::Due => Verdict::Due,
        }
    }

    /// Whether a copy may be served, be it due or not.
    pub(crate) fn may_serve(&self, entry: &Entry<V>, read_clock: ReadClock) -> bool {
        matches!(self.judge(entry, read_clock, false), Verdict::Valid | Verdict::Due)
    }

    /// Counts a read of a copy, which says how much it is worth to have.
    pub(crate) fn note_read(&self, entry: &Entry<V>) {
        if entry.note_read() {
            self.shared().prefetch.paid(self.counters());
        }
    }

    pub(crate) fn proven(&self) -> bool {
        let ReadClock { proven, now } = self.read_clock();
        within(self.config().staleness_bound, proven, now)
    }
}
