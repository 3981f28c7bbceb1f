//! Whether copies are valid: which changes this replica has applied, and up to which moment they are complete.
//!
//! A copy is valid if no change that touches the copy was applied since the copy was read, and if every change up to a moment
//! within the staleness bound has been applied. Counters tell the first: the *generation* of each *stripe* of keys, and a count
//! of the rules, which touch many keys at once. The start of the last successful pass over the change log tells the second.

mod apply;
mod causes;
mod change;
mod dedup;
mod history;
mod incarnations;
pub(crate) mod pattern;
mod recent;
mod rules;
mod witness;

use std::{
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::{SharedSeed, fast::SeedableRandomState};
use larder_change::{ANY, Incarnation, Snapshot};

use self::{history::History, rules::Rules, witness::Witnesses};
use crate::time::Moment;

pub use self::{
    apply::TracedChanges,
    change::{Change, Changes, LogBatch, Subject},
    pattern::{Glob, GlobError},
    recent::{ChangeSource, RecentChange},
};
pub(crate) use self::{
    apply::{Applier, Copies},
    history::{Depends, Origin},
    recent::RecentChanges,
    rules::Rule,
};

/// What a replica knows about the validity of copies.
#[derive(Debug)]
pub(crate) struct Validity {
    generations: Box<[AtomicU64]>,
    hasher: SeedableRandomState,
    rules: Rules,
    /// Judges copies made by other replicas, and results of a standby.
    history: History,
    witnesses: Witnesses,
    proven: AtomicU64,
    /// When the last successful pass began, whether the pass proved anything or not.
    looked: AtomicU64,
    /// The number of the newest pass over the change log, finished or not.
    newest_pass: AtomicU64,
    view: RwLock<Option<Arc<View>>>,
    /// Why the last pass proved nothing.
    incomplete: RwLock<Option<Arc<str>>>,
}

/// What the last pass over the change log saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    pub(crate) incarnation: Incarnation,
}

/// The keys and terms that share one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stripe(u32);

/// What a copy depends on: the stripe of its key and, for a list, the stripe of its term. Both are the same for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stripes {
    key: Stripe,
    term: Stripe,
}

/// The state of a key's validity, taken before a load reads anything. A copy is valid while the state is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ValidityStamp {
    pub(crate) stripes: Stripes,
    pub(crate) generation: u64,
    pub(crate) rules: u64,
}

impl Validity {
    /// Creates the state of a replica that has applied nothing. `entries` is the capacity of L1: with fewer stripes than copies,
    /// a change would also drop copies of other keys. `seed` decides which keys share a stripe. `remembered` is how many keys and
    /// terms the history remembers individually.
    pub(crate) fn new(entries: u64, seed: u64, remembered: usize) -> Self {
        let stripes = entries.saturating_mul(4).clamp(1 << 10, 1 << 20).next_power_of_two();
        Self {
            generations: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            rules: Rules::default(),
            history: History::new(remembered),
            witnesses: Witnesses::default(),
            proven: AtomicU64::new(Moment::NEVER.nanos()),
            looked: AtomicU64::new(Moment::NEVER.nanos()),
            newest_pass: AtomicU64::new(0),
            view: RwLock::default(),
            incomplete: RwLock::default(),
        }
    }

    /// The stripes of a key. A list depends on a term.
    pub(crate) fn stripes(&self, name: &str, term: Option<&str>) -> Stripes {
        let key = self.stripe(name);
        Stripes { key, term: term.map_or(key, |term| self.stripe(term)) }
    }

    /// The stripe of a key or a term.
    fn stripe(&self, name: &str) -> Stripe {
        #[expect(clippy::cast_possible_truncation, reason = "there are at most 2^20 stripes")]
        Stripe((self.hasher.hash_one(name) & (self.generations.len() as u64 - 1)) as u32)
    }

    /// Takes the stamp of a key. Must precede every read on behalf of the key.
    pub(crate) fn stamp(&self, name: &str, term: Option<&str>) -> ValidityStamp {
        self.capture(self.stripes(name, term))
    }

    /// Takes the stamp of stripes. Must precede every read on behalf of their keys.
    pub(crate) fn capture(&self, stripes: Stripes) -> ValidityStamp {
        ValidityStamp { stripes, generation: self.generation(stripes), rules: self.rules.counter() }
    }

    /// The generation of stripes. For two stripes, the sum: it stays the same only if both do.
    pub(crate) fn generation(&self, Stripes { key, term }: Stripes) -> u64 {
        let of = |stripe: Stripe| self.generations[stripe.0 as usize].load(Ordering::Acquire);
        if key == term { of(key) } else { of(key).wrapping_add(of(term)) }
    }

    /// The rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Applies a change to everything but L1, from which the caller then removes the key. Applying a change twice, late or out of
    /// order is harmless.
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

    /// Records a change for judging the copies of other replicas. L1 holds no copy that the change touches.
    pub(crate) fn record_elsewhere(&self, change: &Change, incarnation: Incarnation) {
        self.remember(change, incarnation);
        if Rule::of(&change.subject).is_some() {
            self.rules.add_elsewhere(incarnation, change.id);
        }
    }

    /// The changes that passes have seen, where witnesses distinguish copies of this life from those of another.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Invalidates every copy of this replica, since anything may have changed. The history still judges copies of others.
    pub(crate) fn touch_all(&self) {
        self.rules.touch_all();
    }

    /// Invalidates the copies that landed here while a pass, or a later one, was the newest.
    pub(crate) fn touch_landed_since(&self, pass: u64, incarnation: Incarnation) {
        self.rules.add(incarnation, 0, Rule::LandedSince(pass));
    }

    /// Records a change in the history alone. Copies here have been dropped already, but the history may have restarted since.
    pub(crate) fn remember(&self, change: &Change, incarnation: Incarnation) {
        self.history.remember(change, incarnation);
    }

    /// Restarts the history: from `start` on, every change of this incarnation is recorded.
    pub(crate) fn restart(&self, incarnation: Incarnation, start: u64) {
        self.witnesses.forget();
        self.history.restart(incarnation, start);
    }

    /// Raises the start of the history, since changes below `start` may have been missed.
    pub(crate) fn raise_start(&self, start: u64) {
        self.witnesses.forget();
        self.history.raise_start(start);
    }

    /// Whether a copy made by another replica is valid: no change that touches the copy was applied since the copy was read. A copy
    /// whose `terms` are unknown is touched by every rule for a term.
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
            Rule::LandedSince(_) => false,
            Rule::All => true,
        };
        self.witnesses.vouch_for(origin.witness)
            && self.history.stands(depends, origin)
            && !self.rules.touched_since(origin, touches)
    }

    /// Whether a copy of this origin can be judged at all, given its incarnation and its age.
    pub(crate) fn remembers(&self, origin: &Origin) -> bool {
        self.witnesses.vouch_for(origin.witness) && self.history.remembers(origin)
    }

    /// Begins a pass over the change log. Returns its number.
    pub(crate) fn begin_pass(&self) -> u64 {
        self.newest_pass.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The number of the newest pass over the change log.
    pub(crate) fn newest_pass(&self) -> u64 {
        self.newest_pass.load(Ordering::SeqCst)
    }

    /// Publishes that every change up to `view` has been applied, by a pass that began at `began`.
    pub(crate) fn publish(&self, view: View, began: Moment) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        *self.incomplete.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.proven.store(began.nanos(), Ordering::Release);
        self.looked.store(began.nanos(), Ordering::Release);
    }

    /// Publishes that the change log was read and misses changes. From here on nothing is proven.
    pub(crate) fn publish_incomplete(&self, view: View, began: Moment, why: Arc<str>) {
        self.proven.store(Moment::NEVER.nanos(), Ordering::Release);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        *self.incomplete.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.looked.store(began.nanos(), Ordering::Release);
    }

    /// Why the change log misses changes, if the last pass found so.
    pub(crate) fn incomplete(&self) -> Option<Arc<str>> {
        self.incomplete.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Withdraws the view, because the last pass read another database. Until the next view is published no loaded copy is stored:
    /// a load that took its stamp after every copy was dropped may still have read the previous database.
    pub(crate) fn forget_view(&self) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the last pass saw; `None` before the first pass.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The incarnation that is followed; `None` before the first pass.
    pub(crate) fn followed(&self) -> Option<Incarnation> {
        self.view().map(|view| view.incarnation)
    }

    /// When the last successful pass began, whether the pass proved anything or not.
    pub(crate) fn looked(&self) -> Moment {
        Moment::from_nanos(self.looked.load(Ordering::Acquire))
    }

    /// When the last pass that proved something began. A reader reads this moment first: whatever the reader compares later is then
    /// at least as recent.
    pub(crate) fn proven(&self) -> Moment {
        Moment::from_nanos(self.proven.load(Ordering::Acquire))
    }

    /// Bumps the generation of a key or a term.
    fn bump(&self, name: &str) {
        self.generations[self.stripe(name).0 as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether `proven` is within `bound` of `now`.
pub(crate) fn within(bound: Duration, proven: Moment, now: Moment) -> bool {
    proven != Moment::NEVER && now.since(proven) <= bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_change::Cause;

    fn entry(id: u64, key: &str, terms: &[&str]) -> Change {
        let terms = terms.iter().map(|&term| term.to_owned()).collect();
        Change {
            id,
            salt: 0,
            subject: Subject::Entry { key: key.to_owned(), version: 1, terms },
            cause: Cause::default(),
        }
    }

    #[test]
    fn a_change_bumps_its_key_its_terms_and_any() {
        let validity = Validity::new(1_000, 1, 10);
        let names = ["product:a", "category:x", "tag:y", ANY, "product:b", "category:z"];
        let before: Vec<_> = names.iter().map(|name| validity.stamp(name, None)).collect();
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
        validity.apply(
            &Change { id: 2, salt: 2, subject: Subject::Key("list:a".to_owned()), cause: Cause::default() },
            Incarnation(1),
        );
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
