//! Learning a change: what it touches is not served again.

use crate::{Cache, Change, Incarnation, Subject, Value, learned::Source};

impl<V: Value> Cache<V> {
    /// Learns a change of this replica's own. Twice, late or out of order is harmless. Returns whether it was new.
    pub fn learn(&self, change: &Change, incarnation: Incarnation) -> bool {
        self.learn_from(Source::Own, change, incarnation)
    }

    /// Learns a change, unless it was learned before: its copies went then, and those there are now were read after that.
    pub(crate) fn learn_from(&self, source: Source, change: &Change, incarnation: Incarnation) -> bool {
        let shared = self.shared();
        if shared.seen.contains(change, incarnation) {
            shared.knowledge.remember(change, incarnation);
            return false;
        }
        shared.counters.learned.count(source, &change.subject);
        self.drop_copies(change, incarnation);
        shared.seen.note(change, incarnation);
        true
    }

    /// Drops every copy: anything may have changed.
    pub(crate) fn drop_all(&self) {
        let shared = self.shared();
        shared.counters.changes.one();
        shared.counters.rules.one();
        shared.knowledge.touch_all();
        shared.l1.clear();
    }

    fn drop_copies(&self, change: &Change, incarnation: Incarnation) {
        let shared = self.shared();
        shared.counters.changes.one();
        shared.knowledge.learn(change, incarnation);
        match &change.subject {
            Subject::Entry { key, .. } | Subject::Key(key) => {
                self.delete(key);
            }
            Subject::Tag(_) | Subject::Pattern(_) => shared.counters.rules.one(),
            Subject::All => {
                shared.counters.rules.one();
                shared.l1.clear();
            }
        }
    }
}
