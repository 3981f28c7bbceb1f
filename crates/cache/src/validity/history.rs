//! The last change of each key and term, by which a replica judges copies that other replicas made.
//!
//! The history records maxima, so that recording a change twice, late or out of order is harmless. The history is complete from
//! a *start* on: every change from that id on, up to the last pass over the change log, is recorded. Forgetting raises the start.
//! A copy read under a snapshot older than the start can no longer be judged.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use foldhash::fast::RandomState;
use larder_change::{ANY, Incarnation, Witness};

use super::{
    change::{Change, Subject},
    incarnations::Ahead,
};

/// The last changes by key and term.
#[derive(Debug)]
pub(crate) struct History {
    facts: RwLock<Facts>,
    /// How many keys and terms one generation holds.
    most: usize,
}

/// What a frame says about the read that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The incarnation of the database.
    pub(crate) incarnation: Incarnation,
    /// The read saw every change below this id.
    pub(crate) horizon: u64,
    /// The version of the item; meaningless for an absence and for lists.
    pub(crate) version: i64,
    /// The newest change that the read saw, in a database that needs witnesses.
    pub(crate) witness: Option<Witness>,
}

/// What a frame holds, and so which changes touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depends<'a> {
    /// An item: touched by changes of its key above its version.
    Item(&'a str),
    /// The absence of an item: touched by every change of its key.
    Absence(&'a str),
    /// A list: touched by every change of its term, and by invalidations of its own key.
    List {
        /// The name of the key.
        name: &'a str,
        /// The term.
        term: &'a str,
    },
}

impl<'a> Depends<'a> {
    /// What the copy of a key depends on. Lists have a term.
    pub(crate) fn of(name: &'a str, term: Option<&'a str>, exists: bool) -> Self {
        match term {
            Some(term) => Self::List { name, term },
            None if exists => Self::Item(name),
            None => Self::Absence(name),
        }
    }
}

#[derive(Debug)]
struct Facts {
    incarnation: Option<Incarnation>,
    start: u64,
    /// The highest id of any change of an entry.
    any: u64,
    young: Generation,
    old: Generation,
    /// Changes of incarnations that no pass has reached yet.
    ahead: Ahead,
}

/// Facts in order of arrival: when the young generation is full, the old one is forgotten as a whole.
#[derive(Debug, Default)]
struct Generation {
    keys: HashMap<Box<str>, KeyFacts, RandomState>,
    terms: HashMap<Box<str>, u64, RandomState>,
    /// The highest id in this generation.
    highest: u64,
}

/// The maxima over all changes of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyFacts {
    /// The version that a change gave the key.
    version: i64,
    /// The id of a change of any kind.
    id: u64,
    /// The id of an invalidation of the key alone.
    invalidation: u64,
}

impl KeyFacts {
    fn max(self, other: Self) -> Self {
        Self {
            version: self.version.max(other.version),
            id: self.id.max(other.id),
            invalidation: self.invalidation.max(other.invalidation),
        }
    }
}

impl History {
    /// Creates a history that remembers at most `most` keys and terms.
    pub(crate) fn new(most: usize) -> Self {
        Self { facts: RwLock::new(Facts::new(None, u64::MAX)), most: (most / 2).max(1) }
    }

    /// Starts anew: from `start` on, the changes of this incarnation recorded so far and from now on are complete.
    pub(crate) fn restart(&self, incarnation: Incarnation, start: u64) {
        let mut facts = self.write();
        let mut ahead = std::mem::take(&mut facts.ahead);
        let (changes, lost) = ahead.take(incarnation);
        *facts =
            Facts { ahead, ..Facts::new(Some(incarnation), start.max(lost.map_or(0, |lost| lost.saturating_add(1)))) };
        for change in changes {
            facts.remember(&change, self.most);
        }
    }

    /// Raises the start, since changes below `start` may have been missed.
    pub(crate) fn raise_start(&self, start: u64) {
        let mut facts = self.write();
        facts.start = facts.start.max(start);
    }

    /// Records a change.
    pub(crate) fn remember(&self, change: &Change, incarnation: Incarnation) {
        let mut facts = self.write();
        if facts.incarnation == Some(incarnation) {
            facts.remember(change, self.most);
        } else {
            facts.ahead.push(incarnation, change);
        }
    }

    /// Whether no change of a key or a term touches a frame since the frame was read. Rules are judged separately.
    pub(crate) fn stands(&self, depends: Depends<'_>, origin: &Origin) -> bool {
        let facts = self.read();
        if !facts.remember_since(origin) {
            return false;
        }
        match depends {
            Depends::Item(key) => facts.of_key(key).is_none_or(|known| {
                known.id < origin.horizon || (known.version <= origin.version && known.invalidation < origin.horizon)
            }),
            Depends::Absence(key) => facts.of_key(key).is_none_or(|known| known.id < origin.horizon),
            Depends::List { name, term } => {
                let of_term = if term == ANY { facts.any } else { facts.of_term(term) };
                of_term < origin.horizon && facts.of_key(name).is_none_or(|known| known.invalidation < origin.horizon)
            }
        }
    }

    /// Whether every change since a frame was read is recorded.
    pub(crate) fn remembers(&self, origin: &Origin) -> bool {
        self.read().remember_since(origin)
    }

    fn read(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Facts> {
        self.facts.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    fn new(incarnation: Option<Incarnation>, start: u64) -> Self {
        Self {
            incarnation,
            start,
            any: 0,
            young: Generation::default(),
            old: Generation::default(),
            ahead: Ahead::default(),
        }
    }

    fn remember_since(&self, origin: &Origin) -> bool {
        self.incarnation == Some(origin.incarnation) && origin.horizon >= self.start
    }

    fn remember(&mut self, change: &Change, most: usize) {
        let id = change.id;
        match &change.subject {
            Subject::Entry { key, version, terms } => {
                self.any = self.any.max(id);
                self.key(key, KeyFacts { version: *version, id, invalidation: 0 }, most);
                for term in terms {
                    self.term(term, id, most);
                }
            }
            Subject::Key(key) => self.key(key, KeyFacts { version: i64::MIN, id, invalidation: id }, most),
            // `Rules` records these.
            Subject::Term(_) | Subject::Pattern(_) | Subject::All => {}
        }
    }

    fn of_key(&self, key: &str) -> Option<KeyFacts> {
        match (self.young.keys.get(key), self.old.keys.get(key)) {
            (Some(young), Some(old)) => Some(young.max(*old)),
            (one, other) => one.or(other).copied(),
        }
    }

    fn of_term(&self, term: &str) -> u64 {
        let of = |generation: &Generation| generation.terms.get(term).copied().unwrap_or(0);
        of(&self.young).max(of(&self.old))
    }

    fn key(&mut self, key: &str, facts: KeyFacts, most: usize) {
        self.make_room(most);
        self.young.highest = self.young.highest.max(facts.id);
        match self.young.keys.get_mut(key) {
            Some(known) => *known = known.max(facts),
            None => drop(self.young.keys.insert(key.into(), facts)),
        }
    }

    fn term(&mut self, term: &str, id: u64, most: usize) {
        self.make_room(most);
        self.young.highest = self.young.highest.max(id);
        match self.young.terms.get_mut(term) {
            Some(known) => *known = id.max(*known),
            None => drop(self.young.terms.insert(term.into(), id)),
        }
    }

    fn make_room(&mut self, most: usize) {
        if self.young.keys.len() + self.young.terms.len() < most {
            return;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        if forgotten.highest > 0 {
            self.start = self.start.max(forgotten.highest + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validity::incarnations::MOST_AHEAD;
    use larder_change::Cause;

    const LIFE: Incarnation = Incarnation(1);

    fn put(id: u64, key: &str, version: i64, terms: &[&str]) -> Change {
        let terms = terms.iter().map(|&term| term.to_owned()).collect();
        Change { id, salt: 0, subject: Subject::Entry { key: key.to_owned(), version, terms }, cause: Cause::default() }
    }

    fn origin(horizon: u64, version: i64) -> Origin {
        Origin { incarnation: LIFE, horizon, version, witness: None }
    }

    fn list(term: &str) -> Depends<'_> {
        Depends::List { name: "list", term }
    }

    fn started() -> History {
        let history = History::new(1_000);
        history.restart(LIFE, 10);
        history
    }

    #[test]
    fn before_the_start_nothing_stands() {
        let history = History::new(1_000);
        assert!(!history.stands(Depends::Item("a"), &origin(u64::MAX - 1, 1)));
        history.restart(LIFE, 10);
        assert!(!history.stands(Depends::Item("a"), &origin(9, 1)));
        assert!(history.stands(Depends::Item("a"), &origin(10, 1)));
        history.raise_start(20);
        assert!(!history.stands(Depends::Item("a"), &origin(19, 1)));
    }

    #[test]
    fn another_incarnation_does_not_stand() {
        let history = started();
        let other = Origin { incarnation: Incarnation(2), ..origin(50, 1) };
        assert!(!history.stands(Depends::Item("a"), &other));
    }

    #[test]
    fn an_item_stands_by_its_version_or_by_its_horizon() {
        let history = started();
        history.remember(&put(30, "a", 7, &[]), LIFE);
        assert!(!history.stands(Depends::Item("a"), &origin(20, 6)));
        // Read while an older transaction was in progress: the horizon is low, the version tells.
        assert!(history.stands(Depends::Item("a"), &origin(20, 7)));
        assert!(history.stands(Depends::Item("a"), &origin(20, 8)));
        assert!(history.stands(Depends::Item("a"), &origin(31, 6)), "the snapshot saw the change");
        assert!(history.stands(Depends::Item("b"), &origin(20, 1)));
    }

    #[test]
    fn an_invalidation_of_the_key_counts_whatever_the_version() {
        let history = started();
        history.remember(&put(15, "a", 7, &[]), LIFE);
        history.remember(
            &Change { id: 30, salt: 0, subject: Subject::Key("a".to_owned()), cause: Cause::default() },
            LIFE,
        );
        assert!(!history.stands(Depends::Item("a"), &origin(30, 9)));
        assert!(history.stands(Depends::Item("a"), &origin(31, 7)));
    }

    #[test]
    fn absences_and_lists_stand_by_their_horizon_alone() {
        let history = started();
        history.remember(&put(30, "a", 7, &["t"]), LIFE);
        for depends in [Depends::Absence("a"), list("t"), list(ANY)] {
            assert!(!history.stands(depends, &origin(30, 99)), "{depends:?}");
            assert!(history.stands(depends, &origin(31, 0)), "{depends:?}");
        }
        assert!(history.stands(list("u"), &origin(10, 0)));
    }

    #[test]
    fn an_invalidation_of_its_key_drops_whatever_a_frame_holds() {
        let history = started();
        history.remember(
            &Change { id: 30, salt: 30, subject: Subject::Key("a".to_owned()), cause: Cause::default() },
            LIFE,
        );
        for depends in [
            Depends::Item("a"),
            Depends::Absence("a"),
            Depends::List { name: "a", term: "t" },
            Depends::List { name: "a", term: ANY },
        ] {
            assert!(!history.stands(depends, &origin(30, 99)), "{depends:?}");
            assert!(history.stands(depends, &origin(31, 0)), "{depends:?}");
        }
        assert!(history.stands(list("t"), &origin(30, 0)), "another list");
    }

    #[test]
    fn maxima_do_not_depend_on_the_order() {
        let history = started();
        history.remember(&put(30, "a", 9, &["t"]), LIFE);
        history.remember(&put(20, "a", 8, &["t"]), LIFE);
        assert!(!history.stands(Depends::Item("a"), &origin(25, 8)));
        assert!(!history.stands(list("t"), &origin(25, 0)));
    }

    #[test]
    fn what_was_learned_ahead_of_an_incarnation_is_remembered() {
        let history = started();
        history.remember(&put(5, "a", 3, &[]), Incarnation(2));
        history.remember(&put(6, "a", 3, &[]), Incarnation(3));
        history.restart(Incarnation(2), 1);
        let of = |version| Origin { incarnation: Incarnation(2), ..origin(2, version) };
        assert!(!history.stands(Depends::Item("a"), &of(2)) && history.stands(Depends::Item("a"), &of(3)));
        for id in 0..MOST_AHEAD as u64 + 10 {
            history.remember(&put(id, "b", 1, &[]), LIFE);
            history.remember(&put(1 << 40, "b", 1, &[]), Incarnation(9));
        }
        history.restart(LIFE, 1);
        assert_eq!(history.read().start, MOST_AHEAD as u64 + 10, "what there was no room for cannot be judged");
    }

    #[test]
    fn forgetting_raises_the_start() {
        let history = History::new(8);
        history.restart(LIFE, 1);
        for id in 1..=100 {
            history.remember(&put(id, &format!("k{id}"), 1, &[]), LIFE);
        }
        let facts = history.read();
        assert!(facts.young.keys.len() + facts.old.keys.len() <= 8);
        assert!(facts.start > 88, "{}", facts.start);
        for id in facts.start..=100 {
            assert!(facts.of_key(&format!("k{id}")).is_some(), "{id} is remembered");
        }
        drop(facts);
        assert!(!history.stands(Depends::Item("k1"), &origin(1, 1)), "what is forgotten cannot be judged");
    }
}
