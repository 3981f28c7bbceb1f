//! Applying changes: each change updates the validity state and drops the copies it touches, once, whoever brings it.

use std::sync::Arc;

use super::{Validity, dedup::Dedup};
use crate::{
    change::{Change, Incarnation, Subject},
    stats::{Counters, RecentChanges, Source},
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
}

impl<C: Copies> Applier<C> {
    pub(crate) fn new(
        validity: Arc<Validity>,
        copies: Arc<C>,
        counters: Arc<Counters>,
        recent: Arc<RecentChanges>,
    ) -> Self {
        Self { validity, copies, counters, recent, dedup: Dedup::default() }
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
        self.counters.invalidations.count(source, &change.subject);
        self.drop_copies(change, incarnation);
        self.dedup.note(change, incarnation);
        self.recent.add(source, &change.subject);
        true
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
