//! What a replica has learned of changes, and the test that every copy must pass.
//!
//! A copy is valid if nothing that touches it was learned since before it was read, and if everything up to a moment within
//! the staleness bound has been learned. The first is told by counters: one for each *stripe* of keys, and one for the
//! rules that touch many keys at once. The second is told by the moment at which the last look at the change log began.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::{SharedSeed, fast::SeedableRandomState};

use crate::{
    Change, Incarnation, Moment, Snapshot, Subject,
    memory::{Depends, Memory, Origin},
    rules::{Rule, Rules},
    term::ANY,
    witness::Witnesses,
};

/// What a replica has learned.
#[derive(Debug)]
pub(crate) struct Knowledge {
    stripes: Box<[AtomicU64]>,
    hasher: SeedableRandomState,
    rules: Rules,
    /// What copies of others are judged by, and what a standby returns.
    memory: Memory,
    witnesses: Witnesses,
    proven: AtomicU64,
    view: RwLock<Option<Arc<View>>>,
}

/// The last look at the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    pub(crate) incarnation: Incarnation,
}

/// The keys that share one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stripe(u32);

/// What was known of a key before a load looked at anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Captured {
    pub(crate) stripe: Stripe,
    pub(crate) generation: u64,
    pub(crate) rules: u64,
}

impl Knowledge {
    /// Knows nothing yet. `entries` is how many copies there may be: with fewer stripes than copies, a change would drop
    /// copies of other keys with it. `seed` decides which keys share a stripe. `memory` is how many keys and terms are
    /// remembered one by one.
    pub(crate) fn new(entries: u64, seed: u64, memory: usize) -> Self {
        let stripes = entries.saturating_mul(4).clamp(1 << 10, 1 << 20).next_power_of_two();
        Self {
            stripes: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            rules: Rules::default(),
            memory: Memory::new(memory),
            witnesses: Witnesses::default(),
            proven: AtomicU64::new(Moment::NEVER.nanos()),
            view: RwLock::default(),
        }
    }

    /// The stripe of a key or a term.
    pub(crate) fn stripe(&self, name: &str) -> Stripe {
        #[expect(clippy::cast_possible_truncation, reason = "there are at most 2^20 stripes")]
        Stripe((self.hasher.hash_one(name) & (self.stripes.len() as u64 - 1)) as u32)
    }

    /// What is known of a stripe now. Comes before anything is looked at.
    pub(crate) fn capture(&self, stripe: Stripe) -> Captured {
        Captured { stripe, generation: self.generation(stripe), rules: self.rules.counter() }
    }

    /// The count of changes learned for a stripe.
    pub(crate) fn generation(&self, stripe: Stripe) -> u64 {
        self.stripes[stripe.0 as usize].load(Ordering::Acquire)
    }

    /// The rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Learns a change, except for the removal of the key from L1, which follows. Twice, late or out of order is harmless.
    pub(crate) fn learn(&self, change: &Change, incarnation: Incarnation) {
        self.remember(change, incarnation);
        match &change.subject {
            Subject::Entry { key, terms, .. } => {
                self.age(key);
                self.age(ANY);
                for term in terms {
                    self.age(term);
                }
            }
            Subject::Key(key) => self.age(key),
            Subject::Term(_) | Subject::Pattern(_) | Subject::All => {}
        }
        if let Some(rule) = Rule::of(&change.subject) {
            self.rules.add(incarnation, change.id, rule);
        }
    }

    /// Learns a change of a database that is not followed, of which there are no copies here.
    pub(crate) fn learn_elsewhere(&self, change: &Change, incarnation: Incarnation) {
        self.remember(change, incarnation);
        if Rule::of(&change.subject).is_some() {
            self.rules.add_elsewhere(incarnation, change.id);
        }
    }

    /// Which changes looks have told, where copies are told by them from those of another life.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Anything may have changed: no copy of this replica's stands any more. Of those of others, memory tells.
    pub(crate) fn touch_all(&self) {
        self.rules.touch_all();
    }

    /// Learns a change that was learned before: its copies are gone, but what judges those of others may have begun anew.
    pub(crate) fn remember(&self, change: &Change, incarnation: Incarnation) {
        self.memory.remember(change, incarnation);
    }

    /// From `start` on, everything of this incarnation that is learned from here on is complete.
    pub(crate) fn restart(&self, incarnation: Incarnation, start: u64) {
        self.witnesses.forget();
        self.memory.restart(incarnation, start);
    }

    /// Changes below `start` may have been missed.
    pub(crate) fn raise_start(&self, start: u64) {
        self.witnesses.forget();
        self.memory.raise_start(start);
    }

    /// Whether nothing that touches a copy of somebody else's, under the name of its key, was learned since it was read.
    /// Without its terms, every rule for a term touches it.
    pub(crate) fn frame_stands(
        &self,
        name: &str,
        depends: Depends<'_>,
        origin: &Origin,
        terms: Option<&[String]>,
    ) -> bool {
        let touches = |rule: &Rule| match rule {
            Rule::Term(term) => terms.is_none_or(|terms| terms.iter().any(|t| **t == **term)),
            Rule::Pattern(glob) => glob.matches(name),
            Rule::All => true,
        };
        self.witnesses.vouch_for(origin.witness)
            && self.memory.stands(depends, origin)
            && !self.rules.touched_since(origin, touches)
    }

    /// Whether what was read so can be judged at all, its incarnation and its age being what they are.
    pub(crate) fn remembers(&self, origin: &Origin) -> bool {
        self.witnesses.vouch_for(origin.witness) && self.memory.remembers(origin)
    }

    /// Everything up to `view` has been learned, by a look at the change log that began at `began`.
    pub(crate) fn publish(&self, view: View, began: Moment) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        self.proven.store(began.nanos(), Ordering::Release);
    }

    /// The last look at the change log was at another database. Until the next is published nothing loaded is stored: a
    /// load that captured what is known after everything was dropped may still have read the database of before.
    pub(crate) fn forget_view(&self) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last look at the change log; `None` before the first.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the last look at the change log began. A reader reads this first: what is compared later is then no older.
    pub(crate) fn proven(&self) -> Moment {
        Moment::from_nanos(self.proven.load(Ordering::Acquire))
    }

    fn age(&self, name: &str) {
        self.stripes[self.stripe(name).0 as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether `proven` is within `bound` of `now`.
pub(crate) fn within(bound: Duration, proven: Moment, now: Moment) -> bool {
    proven != Moment::NEVER && now.since(proven) <= bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, key: &str, terms: &[&str]) -> Change {
        let terms = terms.iter().map(|&term| term.to_owned()).collect();
        Change { id, salt: 0, subject: Subject::Entry { key: key.to_owned(), version: 1, terms } }
    }

    #[test]
    fn a_change_ages_its_key_its_terms_and_any() {
        let knowledge = Knowledge::new(1_000, 1, 10);
        let names = ["product:a", "category:x", "tag:y", ANY, "product:b", "category:z"];
        let before: Vec<_> = names.iter().map(|name| knowledge.capture(knowledge.stripe(name))).collect();
        knowledge.learn(&entry(1, "product:a", &["category:x", "tag:y"]), Incarnation(1));
        let stands: Vec<_> = before.iter().map(|&captured| knowledge.capture(captured.stripe) == captured).collect();
        assert_eq!(stands, [false, false, false, false, true, true]);
    }

    #[test]
    fn proof_lasts_for_the_bound() {
        let bound = Duration::from_secs(1);
        let began = Moment::from_nanos(5);
        assert!(within(bound, began, began.plus(bound)));
        assert!(!within(bound, began, began.plus(bound + Duration::from_nanos(1))));
        assert!(!within(bound, Moment::NEVER, Moment::from_nanos(1)));
    }
}
