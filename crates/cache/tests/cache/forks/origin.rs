//! A database in memory that is like PostgreSQL and has several lives, and everything that it ever held.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use larder_cache::{
    ANY, Cause, Change, ChangeLog, Changes, Clock, Commit, Facts, Incarnation, LoadError, Loaded, LogBatch, Moment,
    Recall, Recalled, Snapshot, Subject, Token, Value, Witness,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{sync::Notify, task::yield_now, time::timeout};

use super::ITEMS;

/// States that were saved, of which any may be put back.
const SAVED: usize = 12;

/// A copy: the commit that wrote it, which no two lives share, and its version, which they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamped {
    stamp: u64,
    version: i64,
}

impl Value for Stamped {
    fn bytes(&self) -> usize {
        100
    }

    fn has(&self, _: &str) -> bool {
        false
    }

    fn facts(&self) -> Facts {
        Facts { version: self.version, terms: Vec::new() }
    }

    fn encode(&self) -> Bytes {
        [self.stamp.to_le_bytes(), self.version.to_le_bytes()].concat().into()
    }

    fn decode(bytes: Bytes, _: bool) -> Option<Self> {
        let (stamp, version) =
            bytes.split_first_chunk().and_then(|(stamp, rest)| Some((stamp, rest.first_chunk()?)))?;
        Some(Self { stamp: u64::from_le_bytes(*stamp), version: i64::from_le_bytes(*version) })
    }
}

/// What can be put back.
#[derive(Debug, Clone)]
struct Stored {
    log: Vec<(u64, u64, Change)>,
    rows: BTreeMap<&'static str, Option<Stamped>>,
    next: u64,
    version: i64,
    life: u64,
}

/// The database at one moment.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) at: Moment,
    pub(super) rows: BTreeMap<&'static str, Option<Stamped>>,
    pub(super) commits: Arc<[u64]>,
}

#[derive(Debug)]
pub(super) struct State {
    stored: Stored,
    open: BTreeMap<u64, &'static str>,
    start: u64,
    commits: u64,
    saved: Vec<Stored>,
    pub(super) past: Vec<Past>,
    pub(super) forks: u64,
}

/// The database, and everything it ever held.
pub(super) struct Origin {
    state: Mutex<State>,
    random: Mutex<SmallRng>,
    clock: Clock,
    pub(super) wake: Notify,
    /// Whether its incarnation tells when the server started.
    tells_start: bool,
}

/// A commit that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) token: Token,
    pub(super) commit: u64,
    pub(super) key: &'static str,
}

impl Origin {
    pub(super) fn new(clock: Clock, seed: u64, tells_start: bool) -> Self {
        let rows = ITEMS.into_iter().map(|item| (item, None)).chain([(ANY, Some(Stamped { stamp: 0, version: 0 }))]);
        let stored = Stored { log: Vec::new(), rows: rows.collect(), next: 100, version: 0, life: 0 };
        let state = State {
            saved: vec![stored.clone()],
            stored,
            open: BTreeMap::new(),
            start: 1,
            commits: 0,
            past: Vec::new(),
            forks: 0,
        };
        let origin = Self {
            state: Mutex::new(state),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            clock,
            wake: Notify::new(),
            tells_start,
        };
        origin.note(&mut origin.state());
        origin
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn incarnation(&self, state: &State) -> Incarnation {
        Incarnation(state.stored.life * 1_000_000 + if self.tells_start { state.start } else { 0 })
    }

    /// The judge takes note of what the database holds from now on.
    fn note(&self, state: &mut State) {
        let commits = state.stored.log.iter().map(|(commit, ..)| *commit).collect();
        state.past.push(Past { at: self.clock.now(), rows: state.stored.rows.clone(), commits });
    }

    /// A transaction takes an id and the lock of a row; nothing if somebody else has it.
    pub(super) fn begin(&self, key: &'static str) -> Option<u64> {
        let mut state = self.state();
        if state.open.values().any(|other| *other == key) {
            return None;
        }
        let id = state.stored.next;
        state.stored.next += 1;
        state.open.insert(id, key);
        Some(id)
    }

    /// It commits; nothing if it was lost meanwhile. Returns what its writer knows.
    pub(super) fn commit(&self, id: u64, key: &'static str, exists: bool) -> Option<(Written, Commit<Stamped>)> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.open.remove(&id).filter(|locked| *locked == key)?;
        state.commits += 1;
        state.stored.version += 1;
        let (commit, version) = (state.commits, state.stored.version);
        let row = exists.then_some(Stamped { stamp: commit, version });
        state.stored.rows.insert(key, row.clone());
        state.stored.rows.insert(ANY, Some(Stamped { stamp: commit, version: 0 }));
        let change = Change {
            id,
            salt: commit,
            subject: Subject::Entry { key: key.to_owned(), version, terms: Vec::new() },
            cause: Cause::default(),
        };
        state.stored.log.push((commit, id, change.clone()));
        let incarnation = self.incarnation(state);
        let horizon = state.open.keys().next().copied().unwrap_or(id).min(id);
        if state.saved.len() == SAVED {
            let gone = self.below(SAVED);
            state.saved.swap_remove(gone);
        }
        state.saved.push(state.stored.clone());
        self.note(state);
        let written = Written { token: Token { incarnation, id, salt: commit }, commit, key };
        let items = row.map(|row| (key.into(), row)).into_iter().collect();
        Some((written, Commit { incarnation, horizon, witness: None, changes: vec![change], items }))
    }

    /// A saved state is put back under a server that is stopped.
    pub(super) fn put_back(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.stored = state.saved[self.below(state.saved.len())].clone();
        self.started(state);
        state.forks += 1;
    }

    /// The server stops and starts.
    pub(super) fn restart(&self) {
        self.started(&mut self.state());
    }

    fn started(&self, state: &mut State) {
        state.open.clear();
        state.start += 1;
        self.note(state);
    }

    /// The server crashes and loses its last commits. Its life id is not logged for recovery, and begins anew.
    pub(super) fn crash(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let now: Vec<u64> = state.stored.log.iter().map(|(commit, ..)| *commit).collect();
        let led_here = |saved: &&Stored| {
            saved.life == state.stored.life && now.starts_with(&saved.log.iter().map(|row| row.0).collect::<Vec<_>>())
        };
        let Some(saved) = state.saved.iter().rfind(led_here).cloned() else { return };
        state.forks += 1;
        state.commits += 1;
        // Never used before: lives and commits are counted together.
        state.stored = Stored { life: state.commits, ..saved };
        state.open.clear();
        self.note(state);
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().unwrap().random_range(0..bound)
    }

    pub(super) async fn dawdle(&self) {
        for _ in 0..self.below(6) {
            yield_now().await;
        }
    }

    pub(super) async fn load(&self, name: &str) -> Result<Loaded<Stamped>, LoadError> {
        self.dawdle().await;
        let loaded = {
            let state = self.state();
            Loaded {
                values: vec![state.stored.rows[name].clone()],
                incarnation: Some(self.incarnation(&state)),
                horizon: state.open.keys().next().copied().unwrap_or(state.stored.next),
                witness: None,
            }
        };
        self.dawdle().await;
        Ok(loaded)
    }
}

impl ChangeLog for Origin {
    async fn pass(&self, since: Option<(&Snapshot, Incarnation)>, _: u32) -> Result<LogBatch, String> {
        self.dawdle().await;
        let pass = {
            let state = self.state();
            let incarnation = self.incarnation(&state);
            let snapshot = Snapshot {
                xmin: state.open.keys().next().copied().unwrap_or(state.stored.next),
                xmax: state.stored.next,
                in_progress: state.open.keys().copied().collect(),
                salt: None,
            };
            let changes = |seen: &dyn Fn(u64) -> bool| {
                state.stored.log.iter().filter(|(_, id, _)| !seen(*id)).map(|row| row.2.clone()).collect()
            };
            let news = match since {
                Some((since, of)) if of == incarnation => Changes::Complete(changes(&|id| since.sees(id))),
                _ => Changes::Window { from: 0, changes: changes(&|_| false) },
            };
            LogBatch { snapshot, incarnation, lineage: None, changes: news }
        };
        self.dawdle().await;
        Ok(pass)
    }

    async fn recall(&self, changes: &[Witness]) -> Result<Recall, String> {
        self.dawdle().await;
        let recall = {
            let state = self.state();
            let has =
                |asked: &Witness| state.stored.log.iter().any(|(salt, id, _)| (*id, *salt) == (asked.id, asked.salt));
            let of = |asked| if has(asked) { Recalled::Here } else { Recalled::Unknown };
            Recall { incarnation: self.incarnation(&state), changes: changes.iter().map(of).collect() }
        };
        self.dawdle().await;
        Ok(recall)
    }

    async fn changed(&self, at_most: Duration) {
        let _ = timeout(at_most, self.wake.notified()).await;
    }
}
