//! What was written when, and whether a read may have returned what it returned.
//!
//! The writes of one key are made one after another, each under the etag that the one before left: so the order in which
//! they were begun is the order in which they were committed, and a write of unknown outcome either happened in its place
//! or never. A read must return a state that somebody wrote, whose writing had begun when the read ended, and that is not
//! older than the last state that
//! - was acknowledged more than the staleness bound before the read began, unless the reply is marked stale;
//! - the read's token names, or was acknowledged before the write of that token began.
//!
//! Of each key the last few states are remembered; whatever a read returns from before those is too old by itself.

mod verdict;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) use verdict::Verdict;
#[cfg(test)]
pub(crate) use verdict::Wrong;

/// States remembered of a key. At some 50 writes a second over 200 keys this is hours.
const STATES: usize = 512;
/// Tokens of the last writes that readers may carry.
const TOKENS: usize = 64;

/// Time since the start of the run, on the one clock of this process.
pub(crate) type Moment = Duration;

/// The history of all keys.
#[derive(Debug)]
pub(crate) struct History {
    bound: Duration,
    keys: Vec<Mutex<Line>>,
    tokens: Mutex<VecDeque<Mark>>,
}

/// The history of a key, the newest state last.
#[derive(Debug, Default)]
struct Line {
    states: VecDeque<State>,
    /// The number of the first state that is still there.
    first: u64,
}

/// A state of a key.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Who wrote it.
    pub(crate) writer: u32,
    /// Whether there is a product afterwards.
    pub(crate) present: bool,
    /// When its writing began.
    pub(crate) begun: Moment,
    /// What became of it.
    pub(crate) outcome: Outcome,
    token: Option<String>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is under way, or nobody knows: it may be seen, and need not be.
    Open,
    /// It was committed, and this is when its writer knew.
    Acknowledged(Moment),
    /// It was certainly not committed, and must not be seen.
    Refused,
}

/// Names a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    /// Its key.
    pub(crate) key: usize,
    /// Its number among those of the key.
    pub(crate) sequence: u64,
    /// Who makes it.
    pub(crate) writer: u32,
}

/// A token, and what a read that carries it must see.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// The token.
    pub(crate) token: String,
    write: Write,
    begun: Moment,
}

/// What a read returned of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The product that a write made.
    Present(Write),
    /// No product.
    Absent,
}

/// A read of a key.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// What was asked for.
    pub(crate) key: usize,
    /// The number of the replica that answered.
    pub(crate) replica: usize,
    /// By which call.
    pub(crate) call: &'static str,
    /// When it began and when it ended.
    pub(crate) begin: Moment,
    /// See `begin`.
    pub(crate) end: Moment,
    /// What it returned.
    pub(crate) seen: Seen,
    /// Whether it was marked stale: then the bound is waived, and nothing else.
    pub(crate) stale: bool,
    /// The token that it carried.
    pub(crate) mark: Option<Mark>,
}

impl History {
    /// Of keys that do not exist yet.
    pub(crate) fn new(keys: usize, bound: Duration) -> Self {
        let absent = State {
            writer: 0,
            present: false,
            begun: Moment::ZERO,
            outcome: Outcome::Acknowledged(Moment::ZERO),
            token: None,
        };
        let line = || Mutex::new(Line { states: [absent.clone()].into(), first: 0 });
        Self { bound, keys: (0..keys).map(|_| line()).collect(), tokens: Mutex::default() }
    }

    /// How old an unmarked reply may be.
    pub(crate) fn bound(&self) -> Duration {
        self.bound
    }

    /// Notes a write that is about to be sent. Nobody else must be writing the key.
    pub(crate) fn begin(&self, key: usize, writer: u32, present: bool, at: Moment) -> Write {
        let mut line = self.line(key);
        let sequence = line.first + line.states.len() as u64;
        line.states.push_back(State { writer, present, begun: at, outcome: Outcome::Open, token: None });
        if line.states.len() > STATES {
            line.states.pop_front();
            line.first += 1;
        }
        Write { key, sequence, writer }
    }

    /// A write was acknowledged, with this token.
    pub(crate) fn acknowledge(&self, write: Write, token: Option<String>, at: Moment) {
        let mut line = self.line(write.key);
        let Some(state) = line.state_mut(write.sequence) else {
            return;
        };
        state.outcome = Outcome::Acknowledged(at);
        state.token.clone_from(&token);
        let begun = state.begun;
        drop(line);
        if let Some(token) = token {
            let mut tokens = lock(&self.tokens);
            tokens.push_back(Mark { token, write, begun });
            if tokens.len() > TOKENS {
                tokens.pop_front();
            }
        }
    }

    /// A write certainly did not happen.
    pub(crate) fn refuse(&self, write: Write) {
        if let Some(state) = self.line(write.key).state_mut(write.sequence) {
            state.outcome = Outcome::Refused;
        }
    }

    /// When a write was sent.
    pub(crate) fn begun(&self, write: Write) -> Option<Moment> {
        Some(self.line(write.key).state(write.sequence)?.begun)
    }

    /// When a write was known to be committed.
    pub(crate) fn acknowledged(&self, write: Write) -> Option<Moment> {
        match self.line(write.key).state(write.sequence)?.outcome {
            Outcome::Acknowledged(at) => Some(at),
            Outcome::Open | Outcome::Refused => None,
        }
    }

    /// The database has gone back to `left` as it was before a moment: whatever came after that never was. Returns how many
    /// acknowledged writes are lost so. Nobody must be writing the key.
    pub(crate) fn rewind(&self, key: usize, left: Seen, before: Moment) -> usize {
        let mut line = self.line(key);
        let last = match left {
            Seen::Present(write) => write.sequence,
            Seen::Absent => {
                let absent =
                    |state: &State| !state.present && state.begun <= before && state.outcome != Outcome::Refused;
                line.from(0).rev().find(|(_, state)| absent(state)).map_or(0, |(number, _)| number)
            }
        };
        let kept = usize::try_from((last + 1).saturating_sub(line.first)).unwrap_or(usize::MAX).min(line.states.len());
        let mut undone = 0;
        for state in line.states.range_mut(kept..) {
            undone += usize::from(matches!(state.outcome, Outcome::Acknowledged(_)));
            state.outcome = Outcome::Refused;
        }
        undone
    }

    /// Whether there is a product after a write.
    pub(crate) fn leaves_product(&self, write: Write) -> bool {
        self.line(write.key).state(write.sequence).is_none_or(|state| state.present)
    }

    /// What a read shows after a write.
    pub(crate) fn left_by(&self, write: Write) -> Seen {
        if self.leaves_product(write) { Seen::Present(write) } else { Seen::Absent }
    }

    /// One of the last tokens, by a number that chance gave.
    pub(crate) fn recent(&self, chance: usize) -> Option<Mark> {
        let tokens = lock(&self.tokens);
        (!tokens.is_empty()).then(|| tokens[tokens.len() - 1 - chance % tokens.len()].clone())
    }

    /// The token of a write, for the reader that saw it.
    pub(crate) fn mark(&self, write: Write) -> Option<Mark> {
        let line = self.line(write.key);
        let state = line.state(write.sequence)?;
        Some(Mark { token: state.token.clone()?, write, begun: state.begun })
    }

    /// Forgets the tokens: another life of the database does not know them.
    pub(crate) fn forget_tokens(&self) {
        lock(&self.tokens).clear();
        for key in &self.keys {
            lock(key).states.iter_mut().for_each(|state| state.token = None);
        }
    }

    /// Judges a read.
    pub(crate) fn check(&self, read: &Read) -> Verdict {
        verdict::judge(&self.line(read.key), read, self.bound)
    }

    fn line(&self, key: usize) -> MutexGuard<'_, Line> {
        lock(&self.keys[key])
    }
}

impl Line {
    fn state(&self, sequence: u64) -> Option<&State> {
        let place = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.states.get(place)
    }

    fn state_mut(&mut self, sequence: u64) -> Option<&mut State> {
        let place = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.states.get_mut(place)
    }

    /// The states with their numbers, from one on.
    fn from(&self, sequence: u64) -> impl DoubleEndedIterator<Item = (u64, &State)> {
        let skip = usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.states.len());
        let first = self.first + skip as u64;
        self.states.range(skip..).enumerate().map(move |(place, state)| (first + place as u64, state))
    }
}

impl State {
    /// Whether it was acknowledged before a moment.
    fn acknowledged_before(&self, moment: Moment) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(at) if at < moment)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
