//! What is learned of changes, and what is dropped for them.

use crate::{
    Cache, Change, Commit, Incarnation, Policy, Subject, Value, WritePolicy, bus::subscriber,
    stats::invalidations::Source, validity::history::Origin,
};

impl<V: Value> Cache<V> {
    /// Learns a change of this replica's own. Twice, late or out of order is harmless. Returns whether it was new.
    pub fn apply(&self, change: &Change, incarnation: Incarnation) -> bool {
        self.apply_from(Source::Own, change, incarnation)
    }

    /// Learns a change, unless it was learned before: its copies went then, and those there are now were read after that.
    pub(crate) fn apply_from(&self, source: Source, change: &Change, incarnation: Incarnation) -> bool {
        let shared = self.shared();
        if source == Source::Bus && self.is_elsewhere(incarnation) {
            shared.validity.record_elsewhere(change, incarnation);
            // The database that is followed may have become that one since.
            if self.is_elsewhere(incarnation) {
                return false;
            }
        }
        if shared.dedup.contains(change, incarnation) {
            shared.validity.remember(change, incarnation);
            if source == Source::LogAlone {
                self.drop_copies(change, incarnation);
            }
            return false;
        }
        shared.counters.invalidations.count(source, &change.subject);
        self.drop_copies(change, incarnation);
        shared.dedup.note(change, incarnation);
        true
    }

    /// Whether another database is followed than that of a change: it touches no copy that is here, and may be news of another
    /// catalogue over the same Redis.
    fn is_elsewhere(&self, incarnation: Incarnation) -> bool {
        self.validity().view().is_some_and(|view| view.incarnation != incarnation)
    }

    /// Drops every copy: anything may have changed.
    pub(crate) fn drop_all(&self) {
        let shared = self.shared();
        shared.counters.changes.one();
        shared.counters.rules.one();
        shared.validity.touch_all();
        shared.l1.clear();
    }

    fn drop_copies(&self, change: &Change, incarnation: Incarnation) {
        let shared = self.shared();
        shared.counters.changes.one();
        shared.validity.apply(change, incarnation);
        match &change.subject {
            Subject::Entry { key, .. } | Subject::Key(key) => {
                self.delete(key);
            }
            Subject::Term(_) | Subject::Pattern(_) => shared.counters.rules.one(),
            Subject::All => {
                shared.counters.rules.one();
                shared.l1.clear();
            }
        }
    }

    /// Learns a commit of this replica's own and tells the others, before anybody is told that it was made. Waits for Redis
    /// no longer than a command may take; what Redis misses, the others find in the change log.
    pub async fn wrote(&self, commit: Commit<V>) {
        let Commit { incarnation, horizon, witness, changes, items } = commit;
        for change in &changes {
            self.apply(change, incarnation);
        }
        let (Some(l2), Some(shared)) = (&self.shared().l2, &self.config().shared) else { return };
        if changes.is_empty() || !l2.link.is_up() {
            return;
        }
        let origin = Origin { incarnation, horizon, version: 0, witness };
        let fills = items.into_iter().map(|(name, value)| self.fill(Policy::Item, name, Some(&value), origin));
        let messages = subscriber::messages(incarnation, l2.replica, &changes);
        let now = match shared.write {
            // Nothing that is stored now can be vouched for.
            _ if self.incomplete().is_some() => Vec::new(),
            WritePolicy::Through => fills.collect(),
            WritePolicy::Invalidate => Vec::new(),
            WritePolicy::Behind => {
                fills.for_each(|fill| self.put_behind(incarnation, fill));
                Vec::new()
            }
        };
        self.counters().l2_sets.add(now.len() as u64);
        let _ = l2.publish(incarnation, &now, &messages, self.counters()).await;
    }

    /// Removes the copy of a key from L1. Returns whether there was one.
    pub fn delete(&self, name: &str) -> bool {
        let deleted = self.shared().l1.remove(name);
        if deleted {
            self.counters().deletes.one();
        }
        deleted
    }

    /// Removes every copy from L1.
    pub fn clear(&self) {
        self.shared().l1.clear();
    }

    /// Removes the copies whose time has passed. Returns how many.
    pub fn purge_expired(&self) -> u64 {
        let purged = self.shared().l1.purge(self.clock().now());
        self.counters().expired.add(purged);
        purged
    }
}
