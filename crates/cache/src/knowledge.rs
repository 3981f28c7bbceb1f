//! What a replica has learned of changes, and the test that every copy must pass.
//!
//! A copy is valid if nothing that touches it was learned since before it was read, and if everything up to a moment within
//! the staleness bound has been learned. The first is told by counters: one for each *stripe* of keys, and one for the
//! rules that touch many keys at once. The second is told by the moment at which the last look at the change log began.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::{SharedSeed, fast::SeedableRandomState};

use crate::{
    Change, Glob, Incarnation, Moment, Snapshot, Subject,
    memory::{Depends, Memory, Origin},
};

/// The term of every list that depends on more than one category or tag.
pub const ANY: &str = "any";

/// Rules remembered one by one; when there are more, they become one that touches everything.
const MAX_RULES: usize = 1_024;
/// Of those, the patterns: each takes some 50 KiB, and more time to match than a tag.
const MAX_PATTERNS: usize = 256;

/// What a replica has learned.
#[derive(Debug)]
pub(crate) struct Knowledge {
    stripes: Box<[AtomicU64]>,
    hasher: SeedableRandomState,
    rules: Rules,
    /// What copies of others are judged by; kept only where there are any.
    memory: Option<Memory>,
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
    /// remembered one by one, `None` where no copies of others are to be judged.
    pub(crate) fn new(entries: u64, seed: u64, memory: Option<usize>) -> Self {
        let stripes = entries.saturating_mul(4).clamp(1 << 10, 1 << 20).next_power_of_two();
        Self {
            stripes: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            rules: Rules::default(),
            memory: memory.map(Memory::new),
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
            Subject::Tag(_) | Subject::Pattern(_) | Subject::All => {}
        }
        if let Some(rule) = Rule::of(&change.subject) {
            self.rules.add(incarnation, change.id, rule);
        }
    }

    /// Anything may have changed: no copy of this replica's stands any more. Of those of others, memory tells.
    pub(crate) fn touch_all(&self) {
        self.rules.touch_all();
    }

    /// Learns a change that was learned before: its copies are gone, but what judges those of others may have begun anew.
    pub(crate) fn remember(&self, change: &Change, incarnation: Incarnation) {
        if let Some(memory) = &self.memory {
            memory.remember(change, incarnation);
        }
    }

    /// From `start` on, everything of this incarnation that is learned from here on is complete.
    pub(crate) fn restart(&self, incarnation: Incarnation, start: u64) {
        if let Some(memory) = &self.memory {
            memory.restart(incarnation, start);
        }
    }

    /// Changes below `start` may have been missed.
    pub(crate) fn raise_start(&self, start: u64) {
        if let Some(memory) = &self.memory {
            memory.raise_start(start);
        }
    }

    /// Whether nothing that touches a copy of somebody else's, under the name of its key, was learned since it was read.
    /// Without its tags, every rule for a tag touches it.
    pub(crate) fn frame_stands(
        &self,
        name: &str,
        depends: Depends<'_>,
        origin: &Origin,
        tags: Option<&[String]>,
    ) -> bool {
        let touches = |rule: &Rule| match rule {
            Rule::Tag(tag) => tags.is_none_or(|tags| tags.iter().any(|t| **t == **tag)),
            Rule::Pattern(glob) => glob.matches(name),
            Rule::All => true,
        };
        let Some(memory) = &self.memory else { return false };
        memory.stands(depends, origin) && !self.rules.touched_since(origin, touches)
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

/// Something that touches many entries at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every entry with this tag, and every list.
    Tag(Box<str>),
    /// Every entry whose key matches.
    Pattern(Glob),
    /// Every entry.
    All,
}

impl Rule {
    /// The rule that a change makes; `None` for one of a single key. A pattern that cannot be read, as somebody may type it
    /// into a shell of the database, touches everything.
    pub(crate) fn of(subject: &Subject) -> Option<Self> {
        match subject {
            Subject::Entry { .. } | Subject::Key(_) => None,
            Subject::Tag(tag) => Some(Self::Tag(tag.as_str().into())),
            Subject::Pattern(pattern) => Some(Glob::parse(pattern).map_or(Self::All, Self::Pattern)),
            Subject::All => Some(Self::All),
        }
    }
}

/// The rules, in the order in which they were learned.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    counter: AtomicU64,
    recent: RwLock<Recent>,
}

/// The rules that are remembered.
#[derive(Debug, Default)]
struct Recent {
    /// Whatever was read before this number is touched, by rules that are forgotten or because anything may have changed.
    floor: u64,
    rules: VecDeque<Learned>,
    /// How many of them are patterns.
    patterns: usize,
    /// The highest ids of what is forgotten, by incarnation, the newest last.
    forgotten: Vec<(Incarnation, u64)>,
}

/// A rule, and the change that made it.
#[derive(Debug)]
struct Learned {
    /// The counter from this rule on.
    number: u64,
    incarnation: Incarnation,
    id: u64,
    rule: Rule,
}

/// Incarnations of which it is known what was forgotten.
const MAX_FORGOTTEN: usize = 4;

impl Recent {
    fn forget(&mut self, incarnation: Incarnation, id: u64) {
        match self.forgotten.iter_mut().find(|(of, _)| *of == incarnation) {
            Some((_, highest)) => *highest = id.max(*highest),
            None => {
                if self.forgotten.len() == MAX_FORGOTTEN {
                    self.forgotten.remove(0);
                }
                self.forgotten.push((incarnation, id));
            }
        }
    }
}

impl Rules {
    /// How many there have been.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.load(Ordering::Acquire)
    }

    /// Whether a rule later than the first `seen` touches something. Also returns the counter read before any was matched.
    pub(crate) fn touched(&self, seen: u64, touches: impl Fn(&Rule) -> bool) -> (bool, u64) {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let counter = self.counter();
        let mut later = recent.rules.iter().rev().take_while(|learned| learned.number > seen);
        (seen < recent.floor || later.any(|learned| touches(&learned.rule)), counter)
    }

    /// Whether a rule touches something that was read without seeing its change.
    fn touched_since(&self, origin: &Origin, touches: impl Fn(&Rule) -> bool) -> bool {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let unseen = |incarnation, id| incarnation == origin.incarnation && id >= origin.horizon;
        recent.forgotten.iter().any(|&(incarnation, id)| unseen(incarnation, id))
            || recent.rules.iter().any(|learned| unseen(learned.incarnation, learned.id) && touches(&learned.rule))
    }

    /// Anything may have changed: whatever was read so far is touched. What judges the copies of others stays as it is.
    fn touch_all(&self) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.floor = self.counter.load(Ordering::Acquire) + 1;
        self.counter.store(recent.floor, Ordering::SeqCst);
    }

    fn add(&self, incarnation: Incarnation, id: u64, rule: Rule) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let counter = self.counter.load(Ordering::Acquire) + 1;
        let pattern = matches!(rule, Rule::Pattern(_));
        let full = recent.rules.len() == MAX_RULES || (pattern && recent.patterns == MAX_PATTERNS);
        if rule == Rule::All || full {
            for forgotten in std::mem::take(&mut recent.rules) {
                recent.forget(forgotten.incarnation, forgotten.id);
            }
            recent.forget(incarnation, id);
            recent.floor = counter;
            recent.patterns = 0;
        } else {
            recent.patterns += usize::from(pattern);
            recent.rules.push_back(Learned { number: counter, incarnation, id, rule });
        }
        self.counter.store(counter, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, key: &str, terms: &[&str]) -> Change {
        let terms = terms.iter().map(|&term| term.to_owned()).collect();
        Change { id, subject: Subject::Entry { key: key.to_owned(), version: 1, terms } }
    }

    #[test]
    fn a_change_ages_its_key_its_terms_and_any() {
        let knowledge = Knowledge::new(1_000, 1, None);
        let names = ["product:a", "category:x", "tag:y", ANY, "product:b", "category:z"];
        let before: Vec<_> = names.iter().map(|name| knowledge.capture(knowledge.stripe(name))).collect();
        knowledge.learn(&entry(1, "product:a", &["category:x", "tag:y"]), Incarnation(1));
        let stands: Vec<_> = before.iter().map(|&captured| knowledge.capture(captured.stripe) == captured).collect();
        assert_eq!(stands, [false, false, false, false, true, true]);
    }

    #[test]
    fn rules_are_matched_from_where_an_entry_stands() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 0, Rule::Tag("old".into()));
        let seen = rules.counter();
        rules.add(Incarnation(1), 0, Rule::Tag("new".into()));
        let tagged = |tag: &'static str| move |rule: &Rule| matches!(rule, Rule::Tag(t) if &**t == tag);
        assert_eq!(rules.touched(seen, tagged("old")), (false, 2));
        assert_eq!(rules.touched(seen, tagged("new")), (true, 2));
        assert_eq!(rules.touched(0, tagged("old")), (true, 2));
    }

    #[test]
    fn forgotten_rules_touch_everything() {
        let rules = Rules::default();
        let seen = rules.counter();
        for n in 0..=MAX_RULES {
            rules.add(Incarnation(1), 0, Rule::Tag(n.to_string().into()));
        }
        assert!(rules.touched(seen, |_| false).0, "what is older than the memory is touched");
        let seen = rules.counter();
        assert!(!rules.touched(seen, |_| true).0, "what is newer than every rule is not");
    }

    #[test]
    fn what_may_have_changed_touches_no_copy_of_others() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 20, Rule::Tag("t".into()));
        let seen = rules.counter();
        rules.touch_all();
        assert!(rules.touched(seen, |_| false).0 && !rules.touched(rules.counter(), |_| true).0);
        let origin = |horizon| Origin { incarnation: Incarnation(1), horizon, version: 0 };
        assert!(rules.touched_since(&origin(20), |_| true) && !rules.touched_since(&origin(20), |_| false));
        let seen = rules.counter();
        rules.add(Incarnation(1), 30, Rule::Tag("u".into()));
        let tagged = |rule: &Rule| *rule == Rule::Tag("u".into());
        assert!(rules.touched(seen, tagged).0 && !rules.touched(seen, |rule| !tagged(rule)).0);
    }

    #[test]
    fn patterns_are_bounded_like_rules() {
        let rules = Rules::default();
        let seen = rules.counter();
        for n in 0..=MAX_PATTERNS {
            assert!(!rules.touched(seen, |_| false).0, "{n}");
            rules.add(Incarnation(1), 0, Rule::of(&Subject::Pattern(format!("{n}*"))).unwrap());
        }
        assert!(rules.touched(seen, |_| false).0);
        assert_eq!(Rule::of(&Subject::Pattern("[".to_owned())), Some(Rule::All), "what cannot be read");
    }

    #[test]
    fn all_touches_what_was_there_and_nothing_later() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 0, Rule::Tag("t".into()));
        let seen = rules.counter();
        rules.add(Incarnation(1), 0, Rule::All);
        assert!(rules.touched(seen, |_| false).0);
        assert!(!rules.touched(rules.counter(), |_| true).0);
    }

    #[test]
    fn a_rule_touches_what_was_read_before_its_change() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 20, Rule::Tag("t".into()));
        let origin = |horizon| Origin { incarnation: Incarnation(1), horizon, version: 0 };
        let tagged = |rule: &Rule| *rule == Rule::Tag("t".into());
        assert!(rules.touched_since(&origin(20), tagged));
        assert!(!rules.touched_since(&origin(21), tagged), "who sees every change below 21 saw it");
        assert!(!rules.touched_since(&origin(20), |_| false));
        rules.add(Incarnation(1), 30, Rule::All);
        assert!(rules.touched_since(&origin(30), |_| false) && !rules.touched_since(&origin(31), |_| true));
        // An older one that is learned later.
        rules.add(Incarnation(1), 25, Rule::All);
        assert!(rules.touched_since(&origin(30), |_| false));
        let other = Origin { incarnation: Incarnation(2), ..origin(1) };
        assert!(!rules.touched_since(&other, |_| true), "the ids of another incarnation mean nothing");
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
