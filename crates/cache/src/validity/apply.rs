//! Applying changes: each change updates the validity state and drops the copies it touches, once, whoever brings it.

use std::sync::{Arc, OnceLock};

use larder_change::{Incarnation, TraceContext};

use super::{
    Validity,
    causes::Causes,
    change::{Change, Subject},
    dedup::Dedup,
    recent::{ChangeSource, RecentChanges},
};
use crate::{
    stats::{Counters, Source},
    time::now_micros,
};

/// The copies that changes drop.
pub(crate) trait Copies: Send + Sync {
    /// Removes the copy of a key. Returns whether there was one.
    fn remove(&self, key: &str) -> bool;

    /// Removes every copy.
    fn clear(&self);
}

/// Applies changes to the validity state and to the copies of this replica.
pub(crate) struct Applier<C> {
    validity: Arc<Validity>,
    copies: Arc<C>,
    counters: Arc<Counters>,
    recent: Arc<RecentChanges>,
    dedup: Dedup,
    causes: Causes,
    /// Is told of traced changes.
    observer: OnceLock<Observer>,
}

/// Is told of the changes of traced writes elsewhere, once they are applied here.
pub(crate) type Observer = Box<dyn Fn(TracedChanges) + Send + Sync>;

/// Changes of one traced write, applied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedChanges {
    /// The span of the write.
    pub write: TraceContext,
    /// Who brought the changes.
    pub source: ChangeSource,
    /// The number of changes.
    pub count: usize,
}

/// The most traced writes whose changes are told of at once. Sampling keeps them few.
const MOST_WRITES: usize = 16;

impl<C: Copies> Applier<C> {
    pub(crate) fn new(
        validity: Arc<Validity>,
        copies: Arc<C>,
        counters: Arc<Counters>,
        recent: Arc<RecentChanges>,
    ) -> Self {
        let (dedup, causes) = (Dedup::default(), Causes::default());
        Self { validity, copies, counters, recent, dedup, causes, observer: OnceLock::new() }
    }

    /// Applies a change, unless it was applied before: then its copies were dropped, and the present ones are newer. Returns
    /// whether the change was new.
    pub(crate) fn apply(&self, source: Source, change: &Change, incarnation: Incarnation) -> bool {
        if source == Source::Bus && self.is_elsewhere(incarnation) {
            self.validity.record_elsewhere(change, incarnation);
            // The follower may have switched to that database meanwhile.
            if self.is_elsewhere(incarnation) {
                return false;
            }
        }
        if self.dedup.contains(change, incarnation) {
            self.validity.remember(change, incarnation);
            if source == Source::LogAlone {
                self.drop_copies(change, incarnation);
            }
            return false;
        }
        self.counters.invalidations.count(source, change.subject.kind());
        self.causes.note(change);
        self.drop_copies(change, incarnation);
        self.dedup.note(change, incarnation);
        self.recent.add(source, &change.subject);
        true
    }

    /// Applies changes that another replica or program made. Returns how many were new.
    pub(crate) fn apply_all(&self, source: Source, changes: &[Change], incarnation: Incarnation) -> usize {
        let new: Vec<&Change> = changes.iter().filter(|change| self.apply(source, change, incarnation)).collect();
        let logged = new.iter().filter_map(|change| change.cause.logged_micros);
        self.counters.record_learned(source, now_micros(), logged);
        if let (Some(observer), true) = (self.observer.get(), source != Source::Own) {
            let source = ChangeSource::of(source);
            let mut writes: Vec<TracedChanges> = Vec::new();
            for write in new.iter().filter_map(|change| change.cause.trace) {
                match writes.iter().position(|known| known.write == write) {
                    Some(known) => writes[known].count += 1,
                    None if writes.len() < MOST_WRITES => writes.push(TracedChanges { write, source, count: 1 }),
                    None => {}
                }
            }
            writes.into_iter().for_each(observer);
        }
        new.len()
    }

    /// The traces of recent changes.
    pub(crate) fn causes(&self) -> &Causes {
        &self.causes
    }

    /// Sets who is told of traced changes, once. Returns whether it was the first.
    pub(crate) fn observe(&self, observer: Observer) -> bool {
        self.observer.set(observer).is_ok()
    }

    /// Drops every copy, since anything may have changed.
    pub(crate) fn drop_all(&self) {
        self.counters.changes.one();
        self.counters.rules.one();
        self.validity.touch_all();
        self.copies.clear();
    }

    /// Removes the copy of a key. Returns whether there was one.
    pub(crate) fn delete(&self, key: &str) -> bool {
        let deleted = self.copies.remove(key);
        if deleted {
            self.counters.deletes.one();
        }
        deleted
    }

    /// Whether a change belongs to a database other than the followed one. Such a change touches no copy here, and may come from
    /// another catalogue over the same Redis.
    fn is_elsewhere(&self, incarnation: Incarnation) -> bool {
        self.validity.followed().is_some_and(|followed| followed != incarnation)
    }

    fn drop_copies(&self, change: &Change, incarnation: Incarnation) {
        self.counters.changes.one();
        self.validity.apply(change, incarnation);
        match &change.subject {
            Subject::Entry { key, .. } | Subject::Key(key) => {
                self.delete(key);
            }
            Subject::Term(_) | Subject::Pattern(_) => self.counters.rules.one(),
            Subject::All => {
                self.counters.rules.one();
                self.copies.clear();
            }
        }
    }
}
