//! The traces of recent changes, for whoever asks who dropped a copy.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Glob,
    change::{Change, Subject},
};

/// Keys and terms whose last change is remembered, in two generations of this size.
const MOST_NAMES: usize = 4_096;
/// Invalidations by term or pattern, or of everything, that are remembered.
const MOST_RULES: usize = 64;

/// Remembers the trace of the last change of keys and terms. Until the first traced change this costs one atomic read a change.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    traced: AtomicBool,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// How many changes came so far.
    order: u64,
    young: HashMap<String, Last>,
    old: HashMap<String, Last>,
    rules: VecDeque<(Rule, Last)>,
}

/// The last change of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Last {
    order: u64,
    /// The trace of its write, if that was traced.
    trace_id: Option<u128>,
}

#[derive(Debug)]
enum Rule {
    Term(String),
    /// `None`: every key.
    Pattern(Option<Glob>),
}

impl Causes {
    /// Remembers a change that is applied.
    pub(crate) fn note(&self, change: &Change) {
        let trace_id = change.cause.trace.map(|trace| trace.trace_id);
        if trace_id.is_some() {
            self.traced.store(true, Ordering::Relaxed);
        } else if !self.traced.load(Ordering::Relaxed) {
            return;
        }
        let mut recent = self.recent();
        recent.order += 1;
        let last = Last { order: recent.order, trace_id };
        match &change.subject {
            Subject::Entry { key, terms, .. } => {
                recent.name(key, last);
                for term in terms {
                    recent.name(term, last);
                }
            }
            Subject::Key(key) => recent.name(key, last),
            Subject::Term(term) => recent.rule(Rule::Term(term.clone()), last),
            Subject::Pattern(pattern) => recent.rule(Rule::Pattern(Glob::parse(pattern).ok()), last),
            Subject::All => recent.rule(Rule::Pattern(None), last),
        }
    }

    /// The trace of the last change that touched a copy, if the change is remembered and its write was traced. `depends` is the term on
    /// which a list depends; `terms` are those of an item.
    pub(crate) fn trace_of(&self, key: &str, depends: Option<&str>, terms: &[String]) -> Option<u128> {
        let recent = self.recent();
        let touches = |rule: &Rule| match rule {
            // A list depends on every term.
            Rule::Term(term) => depends.is_some() || terms.contains(term),
            Rule::Pattern(glob) => glob.as_ref().is_none_or(|glob| glob.matches(key)),
        };
        let rules = recent.rules.iter().filter(|(rule, _)| touches(rule)).map(|(_, last)| *last);
        let names = [Some(key), depends].into_iter().flatten().filter_map(|name| recent.of(name));
        rules.chain(names).max().and_then(|last| last.trace_id)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn name(&mut self, name: &str, last: Last) {
        if self.young.len() >= MOST_NAMES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.to_owned(), last);
    }

    fn rule(&mut self, rule: Rule, last: Last) {
        if self.rules.len() == MOST_RULES {
            self.rules.pop_front();
        }
        self.rules.push_back((rule, last));
    }

    fn of(&self, name: &str) -> Option<Last> {
        self.young.get(name).or_else(|| self.old.get(name)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_change::{Cause, TraceContext};

    fn change(subject: Subject, trace_id: u128) -> Change {
        let trace = (trace_id > 0).then_some(TraceContext { trace_id, span_id: 1, sampled: true });
        Change { id: 1, salt: 0, subject, cause: Cause { trace, logged_micros: None } }
    }

    fn put(key: &str, terms: &[&str]) -> Subject {
        let terms = terms.iter().map(|&term| term.to_owned()).collect();
        Subject::Entry { key: key.to_owned(), version: 1, terms }
    }

    #[test]
    fn the_last_change_that_touches_a_copy_counts() {
        let causes = Causes::default();
        causes.note(&change(put("product:a", &["tag:t"]), 7));
        assert_eq!(causes.trace_of("product:a", None, &[]), Some(7));
        assert_eq!(causes.trace_of("list:tag:t", Some("tag:t"), &[]), Some(7));
        assert_eq!(causes.trace_of("product:b", None, &["tag:t".to_owned()]), None, "another item of the tag");
        causes.note(&change(Subject::Term("tag:t".to_owned()), 8));
        assert_eq!(causes.trace_of("product:b", None, &["tag:t".to_owned()]), Some(8));
        causes.note(&change(Subject::Pattern("product:*".to_owned()), 9));
        assert_eq!(causes.trace_of("product:c", None, &[]), Some(9));
        causes.note(&change(put("product:a", &[]), 0));
        assert_eq!(causes.trace_of("product:a", None, &[]), None, "nobody traced the last change");
        causes.note(&change(Subject::All, 10));
        assert_eq!(causes.trace_of("product:a", None, &[]), Some(10));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let causes = Causes::default();
        for number in 0..20_000_u128 {
            causes.note(&change(Subject::Key(format!("product:{number}")), number + 1));
            causes.note(&change(Subject::Term("tag:t".to_owned()), number + 1));
        }
        let recent = causes.recent();
        assert!(recent.young.len() + recent.old.len() <= 2 * MOST_NAMES && recent.rules.len() == MOST_RULES);
    }
}
