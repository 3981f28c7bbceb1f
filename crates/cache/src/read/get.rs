//! Reads from L1 alone, and the test that every copy in L1 must pass.

use std::sync::Arc;

use super::ReadPath;
use crate::{
    hot_keys::sampled,
    l1::{Entry, Reload, Stage, Value},
    time::Moment,
    validity::within,
};

/// Whether a copy may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The copy may be served.
    Valid,
    /// The copy may be served, and the reader who is told so reloads it if possible.
    Due,
    /// No applied change touches the copy, but the applied changes are not recent enough.
    Unproven,
    /// No applied change touches the copy, but the copy has expired.
    Expired,
    /// An applied change touches the copy.
    Invalid,
}

/// The proof of freshness and the time, read before any copy and in this order: a thread that is suspended in between then judges
/// by a proof that is too old, never by one that is too young.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadClock {
    pub(crate) proven: Moment,
    pub(crate) now: Moment,
}

/// Reads copies from L1 for the duration of one call, judging all of them by one reading of the clock.
pub struct Reader<'a, V: Value> {
    reads: &'a ReadPath<V>,
    clock: ReadClock,
    hits: u64,
    not_found: u64,
}

impl<V: Value> Reader<'_, V> {
    /// The copy of a key, if L1 has one that may be served: no wait, no lock, no network.
    pub fn get(&mut self, name: &str) -> Option<Arc<Entry<V>>> {
        let entry = self.reads.l1.get(name)?;
        if self.reads.judge(&entry, self.clock, Reload::Impossible) != Verdict::Valid {
            return None;
        }
        if sampled() {
            self.reads.hot_keys.note(name, self.clock.now);
        }
        self.reads.note_read(&entry);
        self.hits += 1;
        self.not_found += u64::from(entry.value.is_none());
        Some(entry)
    }

    /// The time by which copies are judged.
    pub fn now(&self) -> Moment {
        self.clock.now
    }
}

impl<V: Value> Drop for Reader<'_, V> {
    fn drop(&mut self) {
        let counters = &self.reads.counters;
        if self.hits > 0 {
            counters.hits.add(self.hits);
        }
        if self.not_found > 0 {
            counters.not_found_hits.add(self.not_found);
        }
    }
}

impl<V: Value> ReadPath<V> {
    /// A reader of L1.
    pub(crate) fn reader(&self) -> Reader<'_, V> {
        Reader { reads: self, clock: self.read_clock(), hits: 0, not_found: 0 }
    }

    pub(crate) fn read_clock(&self) -> ReadClock {
        let proven = self.validity.proven();
        ReadClock { proven, now: self.clock.now() }
    }

    /// Judges a copy for a reader who can or cannot reload it.
    pub(crate) fn judge(&self, entry: &Entry<V>, ReadClock { proven, now }: ReadClock, reload: Reload) -> Verdict {
        let bound = self.config.staleness_bound;
        if !entry.stands(&self.validity) {
            return Verdict::Invalid;
        }
        let fresh = within(bound, proven, now) || within(bound, entry.own_proof(), now);
        if now < entry.due {
            return if fresh { Verdict::Valid } else { Verdict::Unproven };
        }
        let reload = if fresh { reload } else { Reload::Impossible };
        match entry.stage(now, reload, || self.jitter.unit()) {
            Stage::Expired => Verdict::Expired,
            _ if !fresh => Verdict::Unproven,
            Stage::Live => Verdict::Valid,
            Stage::Due => Verdict::Due,
        }
    }

    /// Whether a copy may be served, due or not.
    pub(super) fn may_serve(&self, entry: &Entry<V>, clock: ReadClock) -> bool {
        matches!(self.judge(entry, clock, Reload::Impossible), Verdict::Valid | Verdict::Due)
    }

    /// Counts a read of a copy, which measures the worth of the copy.
    pub(super) fn note_read(&self, entry: &Entry<V>) {
        if entry.note_read() {
            self.prefetch.paid();
        }
    }

    /// Whether the applied changes are complete up to a moment within the staleness bound.
    pub(crate) fn proven(&self) -> bool {
        let ReadClock { proven, now } = self.read_clock();
        within(self.config.staleness_bound, proven, now)
    }
}
