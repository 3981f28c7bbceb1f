//! The changes that passes have seen. They distinguish copies, tokens and positions of this life of the database from those of
//! another.
//!
//! Witnesses are kept only for databases whose backups restore the incarnation. Only passes vouch for a change: a message or a
//! write may belong to a life that has been replaced since.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use larder_change::{Snapshot, Witness};

/// The newest changes that are kept. Older ones are no longer vouched for: a copy is a miss, and a token is looked up.
const MOST: usize = 200_000;

/// The changes that passes have seen.
#[derive(Debug)]
pub(crate) struct Witnesses(RwLock<Known>);

#[derive(Debug)]
struct Known {
    /// Whether a copy needs a witness. True until the first pass, which knows no witness yet.
    needed: bool,
    salts: BTreeMap<u64, u64>,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self(RwLock::new(Known { needed: true, salts: BTreeMap::new() }))
    }
}

impl Witnesses {
    /// Forgets everything: until the next pass nothing is vouched for.
    pub(crate) fn forget(&self) {
        *self.write() = Known { needed: true, salts: BTreeMap::new() };
    }

    /// Records changes that a pass has seen and that have been applied.
    pub(crate) fn vouch(&self, changes: &[Witness], snapshot: &Snapshot) {
        let newest = snapshot.witness();
        let mut known = self.write();
        known.needed = newest.is_some();
        let Some(newest) = newest else { return };
        known.salts.extend(changes.iter().map(|change| (change.id, change.salt)));
        known.salts.insert(newest.id, newest.salt);
        while known.salts.len() > MOST {
            known.salts.pop_first();
        }
    }

    /// Whether a pass has seen the newest change that the reader of a copy saw.
    pub(crate) fn vouch_for(&self, witness: Option<Witness>) -> bool {
        let known = self.read();
        !known.needed || witness.is_some_and(|witness| known.salts.get(&witness.id) == Some(&witness.salt))
    }

    /// The salt of a change that a pass has seen.
    pub(crate) fn salt(&self, id: u64) -> Option<u64> {
        self.read().salts.get(&id).copied()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: u64, salt: u64) -> Witness {
        Witness { id, salt }
    }

    fn snapshot(newest: u64, salt: Option<u64>) -> Snapshot {
        Snapshot { xmin: newest + 1, xmax: newest + 1, in_progress: Vec::new(), salt }
    }

    #[test]
    fn only_what_a_look_has_told_is_vouched_for() {
        let witnesses = Witnesses::default();
        let of = |id, salt| Some(Witness { id, salt });
        assert!(!witnesses.vouch_for(of(1, 1)) && !witnesses.vouch_for(None), "before the first look");
        witnesses.vouch(&[change(2, 20), change(3, 30)], &snapshot(5, Some(50)));
        for (witness, vouched) in [
            (of(2, 20), true),
            (of(3, 30), true),
            (of(5, 50), true),
            (of(3, 31), false),
            (of(4, 40), false),
            (None, false),
        ] {
            assert_eq!(witnesses.vouch_for(witness), vouched, "{witness:?}");
        }
        witnesses.forget();
        assert!(!witnesses.vouch_for(of(5, 50)));
        witnesses.vouch(&[], &snapshot(5, None));
        assert!(witnesses.vouch_for(None), "a database whose incarnation tells");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let witnesses = Witnesses::default();
        for first in 0..5 {
            let changes: Vec<_> = (0..MOST as u64 / 4).map(|n| change(first * MOST as u64 / 4 + n, n)).collect();
            witnesses.vouch(&changes, &snapshot(changes.last().unwrap().id, Some(changes.last().unwrap().salt)));
        }
        assert_eq!(witnesses.read().salts.len(), MOST);
        assert!(witnesses.salt(0).is_none() && witnesses.salt(MOST as u64).is_some());
    }
}
