//! What was written when, and whether a read may have returned what it returned.
//!
//! The writes of one product are made one after another, so that it has a history of states in an order that is known.
//! Everything else (which products are written together, who writes, when a transaction begins and ends) is left to chance.
//!
//! A read of a product must return a state that somebody committed, and whose commit had begun when the read ended. And
//! it must not be older than the last state that
//! - this replica wrote and acknowledged before the read began (for a list: if that touches what the list depends on),
//! - was acknowledged before the last look at the change log began, as the read found it,
//! - was acknowledged more than the staleness bound before the read began,
//! - the read's token names, or was acknowledged before the write of that token began.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_cache::{Clock, Moment, Token};
use tokio::sync::watch;

use super::shop::{Content, KEYS, Question, Write, id};

/// The history of the shop.
pub(super) struct History {
    clock: Clock,
    start: Moment,
    bound: u64,
    products: Vec<Mutex<Vec<State>>>,
    tokens: Mutex<Vec<(Token, Floor)>>,
    /// Changes acknowledged so far, by product and by question.
    product_changes: Vec<AtomicU64>,
    question_changes: Vec<AtomicU64>,
    acknowledged: watch::Sender<u64>,
    next: AtomicU64,
    failure: OnceLock<String>,
    /// What happened, for the report.
    pub(super) counts: Counts,
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Loads during which something they read was changed.
    pub(super) raced: AtomicU64,
    /// Reads checked.
    pub(super) reads: AtomicU64,
    /// Reads answered from L1.
    pub(super) hits: AtomicU64,
    /// Reads marked stale.
    pub(super) stale: AtomicU64,
    /// Transactions committed and rolled back.
    pub(super) commits: AtomicU64,
    pub(super) rollbacks: AtomicU64,
}

/// A state of a product.
#[derive(Debug, Clone, Copy)]
struct State {
    /// `None`: there is none.
    write: Option<Write>,
    commit: Commit,
    /// Nanoseconds since the start; `u64::MAX` until it is acknowledged.
    begun: u64,
    acked: u64,
    /// Whether it was written through the replica that is read.
    own: bool,
}

/// Names a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit(u64);

/// The least that a read must see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Floor {
    /// Everything acknowledged before this.
    pub(super) time: u64,
    /// Everything of this transaction.
    pub(super) commit: Option<Commit>,
}

/// What is known of a read before it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: u64,
    /// When the last look at the change log began that had succeeded by the start.
    proven: u64,
    pub(super) floor: Floor,
}

impl Window {
    /// Whether nothing later than `time` was proven when the read began.
    pub(super) fn proven_before(&self, time: u64) -> bool {
        self.proven <= time
    }
}

/// What is known of a read when it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) window: Window,
    /// Whether it was marked stale: then the bound is waived, and nothing else.
    pub(super) stale: bool,
    /// What a list was asked; `None` for a product.
    pub(super) question: Option<Question>,
}

/// A transaction about to be committed.
#[must_use]
pub(super) struct Pending<'a> {
    history: &'a History,
    commit: Commit,
    changes: Vec<(usize, Option<Write>)>,
    begun: u64,
}

impl History {
    pub(super) fn new(clock: Clock, bound: Duration) -> Self {
        let start = clock.now();
        let absent = State { write: None, commit: Commit(0), begun: 0, acked: 0, own: false };
        Self {
            clock,
            start,
            bound: nanos(bound),
            products: (0..KEYS).map(|_| Mutex::new(vec![absent])).collect(),
            tokens: Mutex::default(),
            product_changes: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            question_changes: Question::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            acknowledged: watch::channel(0).0,
            next: AtomicU64::new(1),
            failure: OnceLock::new(),
            counts: Counts::default(),
        }
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock.now().since(self.start))
    }

    /// A write that is not in the history, and is not to be seen unless it gets there.
    pub(super) fn new_write(&self) -> Write {
        Write(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// What a product is now. Nobody else must be writing it.
    pub(super) fn current(&self, key: usize) -> Option<Write> {
        self.states(key).last().and_then(|state| state.write)
    }

    /// Notes changes that are about to be committed: from here on they may be seen. Nobody else must be writing them.
    pub(super) fn commit(&self, changes: Vec<(usize, Option<Write>)>, own: bool) -> Pending<'_> {
        let commit = Commit(self.next.fetch_add(1, Ordering::Relaxed));
        let begun = self.now();
        for &(key, write) in &changes {
            self.states(key).push(State { write, commit, begun, acked: u64::MAX, own });
        }
        Pending { history: self, commit, changes, begun }
    }

    /// How often a product was changed.
    pub(super) fn product_changes(&self, key: usize) -> u64 {
        self.product_changes[key].load(Ordering::SeqCst)
    }

    /// How often the term was touched that a question depends on.
    pub(super) fn question_changes(&self, question: Question) -> u64 {
        let number = Question::ALL.iter().position(|other| *other == question).expect("one of all");
        self.question_changes[number].load(Ordering::SeqCst)
    }

    /// Tells of every acknowledgement.
    pub(super) fn acknowledgements(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// A token of the last few, by a number that chance gave.
    pub(super) fn token(&self, chance: usize) -> Option<(Token, Floor)> {
        let tokens = lock(&self.tokens);
        (!tokens.is_empty()).then(|| tokens[tokens.len() - 1 - chance % tokens.len().min(16)])
    }

    /// The window of a read that begins now. `age` tells how old the last look at the change log is.
    pub(super) fn window(&self, floor: Floor, age: impl FnOnce() -> Option<Duration>) -> Window {
        // First: what is said to be proven is then never later than it is.
        let before = self.now();
        let proven = age().map_or(0, |age| before.saturating_sub(nanos(age)));
        Window { start: self.now(), proven, floor }
    }

    /// Checks what a read made of a product. `fits` tells which states it could have been.
    pub(super) fn check(
        &self,
        key: usize,
        read: Read,
        what: impl FnOnce() -> String,
        fits: impl Fn(Option<Write>) -> bool,
    ) {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let end = self.now();
        let states = self.states(key);
        let least = oldest_allowed(&states, read, self.bound);
        let fitting = |from: usize| states[from..].iter().any(|state| state.begun <= end && fits(state.write));
        if fitting(least) {
            return;
        }
        let verdict = if fitting(0) { "it is too old" } else { "nobody committed it" };
        let recent = &states[least.saturating_sub(3)..states.len().min(least + 4)];
        self.fail(format!(
            "{} of {} returned what it must not: {verdict}\n{read:?}, ended {end}\n\
             oldest state allowed: number {least} of {}, around it: {recent:?}",
            what(),
            id(key),
            states.len(),
        ));
    }

    /// Notes what must not be. The first one counts.
    pub(super) fn fail(&self, text: String) {
        let _ = self.failure.set(text);
    }

    /// What must not be and was.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn states(&self, key: usize) -> MutexGuard<'_, Vec<State>> {
        lock(&self.products[key])
    }
}

impl Pending<'_> {
    /// The commit is acknowledged. Whoever sees `token` sees it.
    pub(super) fn acknowledge(self, token: Option<Token>) {
        let history = self.history;
        let acked = history.now();
        for &(key, _) in &self.changes {
            let mut states = history.states(key);
            let number = states.iter().rposition(|state| state.commit == self.commit).expect("the state noted before");
            states[number].acked = acked;
            history.product_changes[key].fetch_add(1, Ordering::SeqCst);
            for (question, count) in Question::ALL.into_iter().zip(&history.question_changes) {
                if touches(question, &states, number) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        if let Some(token) = token {
            let floor = Floor { time: self.begun, commit: Some(self.commit) };
            lock(&history.tokens).push((token, floor));
        }
        history.counts.commits.fetch_add(1, Ordering::Relaxed);
        history.acknowledged.send_modify(|count| *count += 1);
    }
}

/// The number of the oldest state that a read may return.
fn oldest_allowed(states: &[State], read: Read, bound: u64) -> usize {
    let Read { window: Window { start, proven, floor }, stale, question } = read;
    let in_time = if stale { 0 } else { start.saturating_sub(bound) };
    let all_before = proven.max(floor.time).max(in_time);
    let touches = |number: usize| question.is_none_or(|question| touches(question, states, number));
    let seen = |number: &usize| {
        let state = &states[*number];
        state.acked < all_before
            || floor.commit == Some(state.commit)
            || (state.own && state.acked < start && touches(*number))
    };
    (0..states.len()).rev().find(seen).unwrap_or(0)
}

/// Whether the change to a state touches the term that a question depends on.
fn touches(question: Question, states: &[State], number: usize) -> bool {
    let before = number.checked_sub(1).map(|before| states[before]);
    let writes = [before, Some(states[number])].into_iter().flatten().filter_map(|state| state.write);
    writes.map(Content::of).any(|content| question.touched_by(content))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(number: u64, acked: u64, own: bool) -> State {
        State { write: Some(Write(number)), commit: Commit(number), begun: acked - 1, acked, own }
    }

    #[test]
    fn each_rule_has_its_oldest_state() {
        let states = [state(1, 10, false), state(2, 20, true), state(3, 30, false), state(4, 40, false)];
        let window = |start, proven| Window { start, proven, floor: Floor::default() };
        let oldest = |window, stale| oldest_allowed(&states, Read { window, stale, question: None }, 100);
        assert_eq!(oldest(window(15, 0), false), 0);
        assert_eq!(oldest(window(25, 0), false), 1, "its own");
        assert_eq!(oldest(window(45, 35), false), 2, "proven");
        assert_eq!(oldest(window(142, 0), false), 3, "the bound");
        assert_eq!(oldest(window(142, 0), true), 1, "stale");
        let token = Floor { time: 25, commit: Some(Commit(3)) };
        assert_eq!(oldest(Window { floor: token, ..window(45, 0) }, true), 2, "its token");
    }
}
