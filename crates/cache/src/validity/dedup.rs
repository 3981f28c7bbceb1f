//! The changes applied most recently, so that no change is applied in full twice.
//!
//! A change comes from its writer or the bus, and again from the change log. The second time its copies need not be dropped:
//! they were read after the first time, and so after the commit.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use larder_change::Incarnation;
use xxhash_rust::xxh3::Xxh3;

use super::change::{Change, Subject};

/// The changes applied most recently, as hashes of 128 bits.
#[derive(Debug, Default)]
pub(crate) struct Dedup(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<u128, RandomState>,
    old: HashSet<u128, RandomState>,
}

/// Changes in one generation.
const MOST: usize = 1 << 15;

impl Dedup {
    /// Whether a change was noted before.
    pub(crate) fn contains(&self, change: &Change, incarnation: Incarnation) -> bool {
        let hash = hash(change, incarnation);
        let generations = self.lock();
        generations.young.contains(&hash) || generations.old.contains(&hash)
    }

    /// Notes a change that has been applied completely: whoever finds the change noted relies on that.
    pub(crate) fn note(&self, change: &Change, incarnation: Incarnation) {
        let hash = hash(change, incarnation);
        let mut generations = self.lock();
        if generations.young.len() >= MOST {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(hash);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(change: &Change, incarnation: Incarnation) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&incarnation.0.to_le_bytes());
    hash.update(&change.id.to_le_bytes());
    hash.update(&change.salt.to_le_bytes());
    let (kind, text, version) = match &change.subject {
        Subject::Entry { key, version, .. } => (0, key.as_str(), *version),
        Subject::Key(key) => (1, key.as_str(), 0),
        Subject::Term(term) => (2, term.as_str(), 0),
        Subject::All => (3, "", 0),
        Subject::Pattern(pattern) => (4, pattern.as_str(), 0),
    };
    hash.update(&[kind]);
    hash.update(&version.to_le_bytes());
    hash.update(text.as_bytes());
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_change::Cause;

    fn put(id: u64, version: i64) -> Change {
        Change {
            id,
            salt: 0,
            subject: Subject::Entry { key: "a".to_owned(), version, terms: Vec::new() },
            cause: Cause::default(),
        }
    }

    #[test]
    fn only_the_very_same_change_was_noted_before() {
        let dedup = Dedup::default();
        dedup.note(&put(1, 1), Incarnation(1));
        assert!(dedup.contains(&put(1, 1), Incarnation(1)));
        for (id, version, life) in [(2, 1, 1), (1, 2, 1), (1, 1, 2)] {
            assert!(!dedup.contains(&put(id, version), Incarnation(life)), "{id} {version} {life}");
        }
        assert!(!dedup.contains(&Change { salt: 1, ..put(1, 1) }, Incarnation(1)), "of another life");
        let others = [Subject::Key, Subject::Term, Subject::Pattern].map(|kind| kind("a".to_owned()));
        for subject in others.into_iter().chain([Subject::All]) {
            let change = Change { id: 1, salt: 0, subject, cause: Cause::default() };
            assert!(!dedup.contains(&change, Incarnation(1)), "{change:?}");
            dedup.note(&change, Incarnation(1));
            assert!(dedup.contains(&change, Incarnation(1)), "{change:?}");
        }
    }

    #[test]
    fn it_forgets_the_oldest() {
        let dedup = Dedup::default();
        let many = 3 * MOST as u64;
        for id in 0..many {
            dedup.note(&put(id, 1), Incarnation(1));
        }
        assert!(dedup.contains(&put(many - 1, 1), Incarnation(1)));
        assert!(!dedup.contains(&put(0, 1), Incarnation(1)));
        let dedup = dedup.lock();
        assert!(dedup.young.len() + dedup.old.len() <= 2 * MOST);
    }
}
