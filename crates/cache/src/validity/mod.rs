//! What a replica has learned of changes, and the test that every copy must pass.
//!
//! A copy is valid if nothing that touches it was learned since before it was read, and if everything up to a moment within
//! the staleness bound has been learned. The first is told by counters: one for each *stripe* of keys, and one for the
//! rules that touch many keys at once. The second is told by the moment at which the last look at the change log began.

pub(crate) mod apply;
pub(crate) mod dedup;
pub(crate) mod history;
pub(crate) mod incarnations;
pub(crate) mod pattern;
pub(crate) mod rules;
pub(crate) mod witness;

pub use pattern::{Glob, GlobError};
pub use rules::Rule;

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
    change::term::ANY,
    validity::history::{Depends, History, Origin},
    validity::rules::Rules,
    validity::witness::Witnesses,
};

/// What a replica has learned.
#[derive(Debug)]
pub(crate) struct Validity {
    stripes: Box<[AtomicU64]>,
    hasher: SeedableRandomState,
    rules: Rules,
    /// What copies of others are judged by, and what a standby returns.
    history: History,
    witnesses: Witnesses,
    proven: AtomicU64,
    /// When the last look began that succeeded, whether it proved anything or not.
    looked: AtomicU64,
    view: RwLock<Option<Arc<View>>>,
    /// Why the last look proved nothing.
    incomplete: RwLock<Option<Arc<str>>>,
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

/// What a copy depends on: the stripe of its key and, for a list, that of its term. An item has the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stripes {
    key: Stripe,
    term: Stripe,
}

/// What was known of a key before a load looked at anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ValidityStamp {
    pub(crate) stripes: Stripes,
    pub(crate) generation: u64,
    pub(crate) rules: u64,
}

impl Validity {
    /// Knows nothing yet. `entries` is how many copies there may be: with fewer stripes than copies, a change would drop
    /// copies of other keys with it. `seed` decides which keys share a stripe. `history` is how many keys and terms are
    /// remembered one by one.
    pub(crate) fn new(entries: u64, seed: u64, history: usize) -> Self {
        let stripes = entries.saturating_mul(4).clamp(1 << 10, 1 << 20).next_power_of_two();
        Self {
            stripes: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            rules: Rules::default(),
            history: History::new(history),
            witnesses: Witnesses::default(),
            proven: AtomicU64::new(Moment::NEVER.nanos()),
            looked: AtomicU64::new(Moment::NEVER.nanos()),
            view: RwLock::default(),
            incomplete: RwLock::default(),
        }
    }

    /// The stripes of a key, which depends on a term if it is a list.
    pub(crate) fn stripes(&self, name: &str, term: Option<&str>) -> Stripes {
        let key = self.stripe(name);
        Stripes { key, term: term.map_or(key, |term| self.stripe(term)) }
    }

    /// The stripe of a key or a term.
    fn stripe(&self, name: &str) -> Stripe {
        #[expect(clippy::cast_possible_truncation, reason = "there are at most 2^20 stripes")]
        Stripe((self.hasher.hash_one(name) & (self.stripes.len() as u64 - 1)) as u32)
    }

    /// What is known of stripes now. Comes before anything is looked at.
    pub(crate) fn capture(&self, stripes: Stripes) -> ValidityStamp {
        ValidityStamp { stripes, generation: self.generation(stripes), rules: self.rules.counter() }
    }

    /// The count of changes learned for stripes: of two, the sum, which stays the same only if both do.
    pub(crate) fn generation(&self, Stripes { key, term }: Stripes) -> u64 {
        let of = |stripe: Stripe| self.stripes[stripe.0 as usize].load(Ordering::Acquire);
        if key == term { of(key) } else { of(key).wrapping_add(of(term)) }
    }

    /// The rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Learns a change, except for the removal of the key from L1, which follows. Twice, late or out of order is harmless.
    pub(crate) fn apply(&self, change: &Change, incarnation: Incarnation) {
        self.remember(change, incarnation);
        match &change.subject {
            Subject::Entry { key, terms, .. } => {
                self.bump(key);
                self.bump(ANY);
                for term in terms {
                    self.bump(term);
                }
            }
            Subject::Key(key) => self.bump(key),
            Subject::Term(_) | Subject::Pattern(_) | Subject::All => {}
        }
        if let Some(rule) = Rule::of(&change.subject) {
            self.rules.add(incarnation, change.id, rule);
        }
    }

    /// Learns a change of a database that is not followed, of which there are no copies here.
    pub(crate) fn record_elsewhere(&self, change: &Change, incarnation: Incarnation) {
        self.remember(change, incarnation);
        if Rule::of(&change.subject).is_some() {
            self.rules.add_elsewhere(incarnation, change.id);
        }
    }

    /// Which changes looks have told, where copies are told by them from those of another life.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Anything may have changed: no copy of this replica's stands any more. Of those of others, history tells.
    pub(crate) fn touch_all(&self) {
        self.rules.touch_all();
    }

    /// Learns a change that was learned before: its copies are gone, but what judges those of others may have begun anew.
    pub(crate) fn remember(&self, change: &Change, incarnation: Incarnation) {
        self.history.remember(change, incarnation);
    }

    /// From `start` on, everything of this incarnation that is learned from here on is complete.
    pub(crate) fn restart(&self, incarnation: Incarnation, start: u64) {
        self.witnesses.forget();
        self.history.restart(incarnation, start);
    }

    /// Changes below `start` may have been missed.
    pub(crate) fn raise_start(&self, start: u64) {
        self.witnesses.forget();
        self.history.raise_start(start);
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
            && self.history.stands(depends, origin)
            && !self.rules.touched_since(origin, touches)
    }

    /// Whether what was read so can be judged at all, its incarnation and its age being what they are.
    pub(crate) fn remembers(&self, origin: &Origin) -> bool {
        self.witnesses.vouch_for(origin.witness) && self.history.remembers(origin)
    }

    /// Everything up to `view` has been learned, by a look at the change log that began at `began`.
    pub(crate) fn publish(&self, view: View, began: Moment) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        *self.incomplete.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.proven.store(began.nanos(), Ordering::Release);
        self.looked.store(began.nanos(), Ordering::Release);
    }

    /// The change log was looked at, and does not tell of every change: nothing is proven from here on.
    pub(crate) fn publish_incomplete(&self, view: View, began: Moment, why: Arc<str>) {
        self.proven.store(Moment::NEVER.nanos(), Ordering::Release);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        *self.incomplete.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.looked.store(began.nanos(), Ordering::Release);
    }

    /// Why the change log does not tell of every change, if the last look at it found that.
    pub(crate) fn incomplete(&self) -> Option<Arc<str>> {
        self.incomplete.read().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// When the last look at the change log began that succeeded, whether it proved anything or not.
    pub(crate) fn looked(&self) -> Moment {
        Moment::from_nanos(self.looked.load(Ordering::Acquire))
    }

    /// When the last look at the change log began that proved something. A reader reads this first: what is compared later is then no older.
    pub(crate) fn proven(&self) -> Moment {
        Moment::from_nanos(self.proven.load(Ordering::Acquire))
    }

    fn bump(&self, name: &str) {
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
        let validity = Validity::new(1_000, 1, 10);
        let names = ["product:a", "category:x", "tag:y", ANY, "product:b", "category:z"];
        let before: Vec<_> = names.iter().map(|name| validity.capture(validity.stripes(name, None))).collect();
        validity.apply(&entry(1, "product:a", &["category:x", "tag:y"]), Incarnation(1));
        let stands: Vec<_> = before.iter().map(|&stamp| validity.capture(stamp.stripes) == stamp).collect();
        assert_eq!(stands, [false, false, false, false, true, true]);
    }

    #[test]
    fn a_list_depends_on_its_term_and_on_its_own_key() {
        let validity = Validity::new(1_000, 1, 10);
        let capture = || validity.capture(validity.stripes("list:a", Some("category:x")));
        let before = capture();
        validity.apply(&entry(1, "product:a", &["category:y"]), Incarnation(1));
        assert_eq!(capture(), before);
        validity.apply(&Change { id: 2, salt: 2, subject: Subject::Key("list:a".to_owned()) }, Incarnation(1));
        let after = capture();
        assert_ne!(after, before);
        validity.apply(&entry(3, "product:a", &["category:x"]), Incarnation(1));
        assert_ne!(capture(), after);
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
