//! Rules: changes that touch many entries at once, by a category, a tag, a pattern, or all of them.
//!
//! An entry in L1 has passed the rules up to a number. A copy of another replica has passed those up to a change id.

use std::{
    collections::VecDeque,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use larder_change::Incarnation;

use super::change::Subject;
use super::{Glob, history::Origin, incarnations::Highest};

/// Rules remembered individually. Beyond that, they collapse into one rule that touches everything.
const MAX_RULES: usize = 1_024;
/// The patterns among those: each takes some 50 KiB, and more time to match than a term.
const MAX_PATTERNS: usize = 256;

/// A test that selects many entries at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every entry that has this term, and every list.
    Term(Box<str>),
    /// Every entry whose key matches.
    Pattern(Glob),
    /// Every entry that landed here while this pass over the change log, or a later one, was the newest. Touches no copy of another
    /// replica.
    LandedSince(u64),
    /// Every entry.
    All,
}

impl Rule {
    /// The rule of a change; `None` for a change of a single key. A pattern that cannot be parsed touches everything: somebody may
    /// have typed it into a shell of the database.
    pub(crate) fn of(subject: &Subject) -> Option<Self> {
        match subject {
            Subject::Entry { .. } | Subject::Key(_) => None,
            Subject::Term(term) => Some(Self::Term(term.as_str().into())),
            Subject::Pattern(pattern) => Some(Glob::parse(pattern).map_or(Self::All, Self::Pattern)),
            Subject::All => Some(Self::All),
        }
    }
}

/// The rules, in the order in which they were applied.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    counter: AtomicU64,
    recent: RwLock<Recent>,
}

/// The rules that are remembered.
#[derive(Debug, Default)]
struct Recent {
    /// Every copy read before this number is touched, by forgotten rules or because anything may have changed.
    floor: u64,
    rules: VecDeque<Applied>,
    /// How many of the rules are patterns.
    patterns: usize,
    /// The highest change ids of forgotten rules.
    forgotten: Highest,
}

/// A rule, and the change that made it.
#[derive(Debug)]
struct Applied {
    /// The value of the counter from this rule on.
    number: u64,
    incarnation: Incarnation,
    id: u64,
    rule: Rule,
}

impl Rules {
    /// How many rules there have been.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.load(Ordering::Acquire)
    }

    /// Whether a rule after the first `seen` ones touches a copy. Also returns the counter as it was before any rule was matched.
    pub(crate) fn touched(&self, seen: u64, touches: impl Fn(&Rule) -> bool) -> (bool, u64) {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let counter = self.counter();
        let mut later = recent.rules.iter().rev().take_while(|applied| applied.number > seen);
        (seen < recent.floor || later.any(|applied| touches(&applied.rule)), counter)
    }

    /// Whether a rule touches a copy that was read without seeing the change of the rule.
    pub(crate) fn touched_since(&self, origin: &Origin, touches: impl Fn(&Rule) -> bool) -> bool {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let unseen = |incarnation, id| incarnation == origin.incarnation && id >= origin.horizon;
        recent.forgotten.of(origin.incarnation).is_some_and(|id| id >= origin.horizon)
            || recent.rules.iter().any(|applied| unseen(applied.incarnation, applied.id) && touches(&applied.rule))
    }

    /// Touches every copy read so far, since anything may have changed. Copies of other replicas are judged as before.
    pub(crate) fn touch_all(&self) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.floor = self.counter.load(Ordering::Acquire) + 1;
        self.counter.store(recent.floor, Ordering::SeqCst);
    }

    /// Adds a rule of an incarnation that is not followed. The rule judges copies of other replicas, and touches nothing in L1.
    pub(crate) fn add_elsewhere(&self, incarnation: Incarnation, id: u64) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.forgotten.raise(incarnation, id);
    }

    pub(crate) fn add(&self, incarnation: Incarnation, id: u64, rule: Rule) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let counter = self.counter.load(Ordering::Acquire) + 1;
        let pattern = matches!(rule, Rule::Pattern(_));
        let full = recent.rules.len() == MAX_RULES || (pattern && recent.patterns == MAX_PATTERNS);
        if rule == Rule::All || full {
            for forgotten in std::mem::take(&mut recent.rules) {
                recent.forgotten.raise(forgotten.incarnation, forgotten.id);
            }
            recent.forgotten.raise(incarnation, id);
            recent.floor = counter;
            recent.patterns = 0;
        } else {
            recent.patterns += usize::from(pattern);
            recent.rules.push_back(Applied { number: counter, incarnation, id, rule });
        }
        self.counter.store(counter, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_matched_from_where_an_entry_stands() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 0, Rule::Term("old".into()));
        let seen = rules.counter();
        rules.add(Incarnation(1), 0, Rule::Term("new".into()));
        let tagged = |tag: &'static str| move |rule: &Rule| matches!(rule, Rule::Term(t) if &**t == tag);
        assert_eq!(rules.touched(seen, tagged("old")), (false, 2));
        assert_eq!(rules.touched(seen, tagged("new")), (true, 2));
        assert_eq!(rules.touched(0, tagged("old")), (true, 2));
    }

    #[test]
    fn forgotten_rules_touch_everything() {
        let rules = Rules::default();
        let seen = rules.counter();
        for n in 0..=MAX_RULES {
            rules.add(Incarnation(1), 0, Rule::Term(n.to_string().into()));
        }
        assert!(rules.touched(seen, |_| false).0, "what is older than the memory is touched");
        let seen = rules.counter();
        assert!(!rules.touched(seen, |_| true).0, "what is newer than every rule is not");
    }

    #[test]
    fn what_may_have_changed_touches_no_copy_of_others() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 20, Rule::Term("t".into()));
        let seen = rules.counter();
        rules.touch_all();
        assert!(rules.touched(seen, |_| false).0 && !rules.touched(rules.counter(), |_| true).0);
        let origin = |horizon| Origin { incarnation: Incarnation(1), horizon, version: 0, witness: None };
        assert!(rules.touched_since(&origin(20), |_| true) && !rules.touched_since(&origin(20), |_| false));
        let seen = rules.counter();
        rules.add(Incarnation(1), 30, Rule::Term("u".into()));
        let tagged = |rule: &Rule| *rule == Rule::Term("u".into());
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
        rules.add(Incarnation(1), 0, Rule::Term("t".into()));
        let seen = rules.counter();
        rules.add(Incarnation(1), 0, Rule::All);
        assert!(rules.touched(seen, |_| false).0);
        assert!(!rules.touched(rules.counter(), |_| true).0);
    }

    #[test]
    fn a_rule_touches_what_was_read_before_its_change() {
        let rules = Rules::default();
        rules.add(Incarnation(1), 20, Rule::Term("t".into()));
        let origin = |horizon| Origin { incarnation: Incarnation(1), horizon, version: 0, witness: None };
        let tagged = |rule: &Rule| *rule == Rule::Term("t".into());
        assert!(rules.touched_since(&origin(20), tagged));
        assert!(!rules.touched_since(&origin(21), tagged), "who sees every change below 21 saw it");
        assert!(!rules.touched_since(&origin(20), |_| false));
        rules.add(Incarnation(1), 30, Rule::All);
        assert!(rules.touched_since(&origin(30), |_| false) && !rules.touched_since(&origin(31), |_| true));
        // An older one that is learned later.
        rules.add(Incarnation(1), 25, Rule::All);
        assert!(rules.touched_since(&origin(30), |_| false));
        let other = |horizon| Origin { incarnation: Incarnation(2), ..origin(horizon) };
        assert!(!rules.touched_since(&other(1), |_| true), "the ids of another incarnation mean nothing");
        let counter = rules.counter();
        rules.add_elsewhere(Incarnation(2), 40);
        assert!(rules.touched_since(&other(40), |_| false) && !rules.touched_since(&other(41), |_| true));
        assert_eq!(rules.counter(), counter, "nothing in L1 is touched");
        for life in 3..200 {
            rules.add_elsewhere(Incarnation(life), 1);
        }
        assert!(rules.touched_since(&origin(30), |_| false), "however many there are");
    }
}
