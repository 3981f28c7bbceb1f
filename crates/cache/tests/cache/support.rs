//! A database in memory whose transactions commit in any order, and a cache that follows it.

mod bench;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_cache::{
    ANY, Cause, Change, ChangeLog, Changes, Clock, Facts, Found, Glob, Incarnation, Key, LoadError, Loaded, LogBatch,
    Moment, Recall, Recalled, Snapshot, Subject, Token, Value, Witness,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{Notify, watch},
    task::yield_now,
    time::{sleep, timeout},
};

pub(crate) use self::bench::{Bench, config};

/// Salts are made of this and the number of the commit.
const SALT: u64 = 0x5a17_0000_0000_0000;

/// What is cached: the number of the commit that wrote it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) seq: u64,
    pub(crate) terms: Vec<String>,
    pub(crate) bytes: usize,
}

impl Value for Item {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn has(&self, term: &str) -> bool {
        self.terms.iter().any(|t| t == term)
    }

    fn facts(&self) -> Facts {
        Facts { version: i64::try_from(self.seq).unwrap(), terms: self.terms.clone() }
    }

    fn encode(&self) -> Bytes {
        let lines = [self.seq.to_string(), self.bytes.to_string()].into_iter().chain(self.terms.iter().cloned());
        lines.collect::<Vec<_>>().join("\n").into()
    }

    fn decode(bytes: Bytes, _: bool) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut lines = text.split('\n');
        let (seq, bytes) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        Some(Self { seq, bytes, terms: lines.map(str::to_owned).collect() })
    }
}

/// One state of a name: since which commit, whether it exists, and when it was committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) seq: u64,
    pub(crate) exists: bool,
    pub(crate) at: Moment,
}

/// Where loads and passes can be held.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// A load, before it reads.
    Load,
    /// A load that has read.
    Loaded,
    /// A pass, before it reads.
    Pass,
    /// A pass that has read.
    Passed,
}

#[derive(Debug)]
struct Gate {
    held: watch::Sender<bool>,
    arrived: watch::Sender<u64>,
}

/// The truth. Names that begin with `item:` are items, absent until they are written; all others are terms.
pub(crate) struct Database {
    state: Mutex<State>,
    clock: Clock,
    gates: [Gate; 4],
    wake: Notify,
    pub(crate) loads: AtomicU64,
    pub(crate) fail_loads: AtomicBool,
    pub(crate) fail_passes: AtomicBool,
    /// From now on the log does not tell of every change.
    pub(crate) incomplete: AtomicBool,
    pub(crate) panic_loads: AtomicBool,
    chaos: Option<Mutex<SmallRng>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    seq: u64,
    open: BTreeSet<u64>,
    log: Vec<Row>,
    history: HashMap<String, Vec<Point>>,
    terms: HashMap<String, Vec<String>>,
    bytes: usize,
    incarnation: u64,
    /// Changes below this id are gone.
    pruned: u64,
    /// What loads say that they read, when it is not the truth.
    claim: Option<Claim>,
    /// What the follower is known to have learned: by name, the last commit.
    learned: HashMap<String, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Claim(Option<Incarnation>);

/// A row of the change log, and what it touched when it was committed.
#[derive(Debug)]
struct Row {
    change: Change,
    seq: u64,
    names: Vec<String>,
}

impl Database {
    pub(crate) fn new(clock: Clock) -> Self {
        let gate = || Gate { held: watch::channel(false).0, arrived: watch::channel(0).0 };
        Self {
            state: Mutex::new(State { next: 100, bytes: 100, incarnation: 1, ..State::default() }),
            clock,
            gates: [gate(), gate(), gate(), gate()],
            wake: Notify::new(),
            loads: AtomicU64::new(0),
            fail_loads: AtomicBool::new(false),
            fail_passes: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
            panic_loads: AtomicBool::new(false),
            chaos: None,
        }
    }

    /// Loads and passes that take any time and fail now and then.
    pub(crate) fn with_chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(Mutex::new(SmallRng::seed_from_u64(seed)));
        self
    }

    /// Takes an id.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next - 1;
        state.open.insert(id);
        id
    }

    /// Takes an id and rolls back; returns the id.
    pub(crate) fn begin_and_abort(&self) -> u64 {
        let id = self.begin();
        self.abort(id);
        id
    }

    /// What a commit touched.
    pub(crate) fn names_of(&self, seq: u64) -> Vec<String> {
        self.state().log.iter().find(|row| row.seq == seq).map(|row| row.names.clone()).unwrap_or_default()
    }

    /// Rolls back.
    pub(crate) fn abort(&self, id: u64) {
        self.state().open.remove(&id);
    }

    /// Commits, and returns the number of the commit.
    pub(crate) fn commit(&self, id: u64, subject: Subject, exists: bool) -> u64 {
        let at = self.clock.now();
        let mut state = self.state();
        assert!(state.open.remove(&id), "transaction {id} is not open");
        state.seq += 1;
        let seq = state.seq;
        let subject = match subject {
            Subject::Entry { key, terms, .. } => {
                Subject::Entry { key, version: i64::try_from(seq).expect("few commits"), terms }
            }
            other => other,
        };
        let names = state.touched(&subject);
        for name in &names {
            let exists = exists || !name.starts_with("item:");
            state.history.entry(name.clone()).or_default().push(Point { seq, exists, at });
        }
        state.log.push(Row { change: Change { id, salt: SALT ^ seq, subject, cause: Cause::default() }, seq, names });
        seq
    }

    /// Writes an item in a transaction of its own, without telling anybody.
    pub(crate) fn put(&self, key: &str, terms: &[&str]) -> Token {
        self.write(entry(key, terms), true)
    }

    /// Writes an item, of which the log does not tell. Returns the number of the commit.
    pub(crate) fn put_in_silence(&self, key: &str) -> u64 {
        self.begin_and_abort();
        let at = self.clock.now();
        let mut state = self.state();
        state.seq += 1;
        let seq = state.seq;
        state.history.entry(key.to_owned()).or_default().push(Point { seq, exists: true, at });
        seq
    }

    pub(crate) fn write(&self, subject: Subject, exists: bool) -> Token {
        let id = self.begin();
        self.commit(id, subject, exists);
        self.token(id)
    }

    /// Names a commit, or a transaction that has made none.
    pub(crate) fn token(&self, id: u64) -> Token {
        let state = self.state();
        let salt = state.log.iter().rev().find(|row| row.change.id == id).map_or(0, |row| row.change.salt);
        Token { incarnation: Incarnation(state.incarnation), id, salt }
    }

    /// What an item has from now on.
    pub(crate) fn have(&self, key: &str, terms: &[&str]) {
        self.state().terms.insert(key.to_owned(), terms.iter().map(|&term| term.to_owned()).collect());
    }

    /// How large items are from now on.
    pub(crate) fn size(&self, bytes: usize) {
        self.state().bytes = bytes;
    }

    /// From now on the database is another one, as after a fail-over.
    pub(crate) fn next_incarnation(&self) {
        let mut state = self.state();
        state.incarnation += 1;
        state.log.clear();
        state.open.clear();
        state.next = 100;
    }

    /// The server starts again, and has everything that it had.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.incarnation += 1;
        state.open.clear();
    }

    /// Removes every change.
    pub(crate) fn prune(&self) {
        let mut state = self.state();
        state.log.clear();
        state.pruned = state.next;
    }

    /// The change ids start again, and the incarnation stays the same.
    pub(crate) fn go_back(&self) {
        self.state().next = 100;
    }

    /// What loads say of the database from now on.
    pub(crate) fn loads_say(&self, incarnation: Option<u64>) {
        self.state().claim = Some(Claim(incarnation.map(Incarnation)));
    }

    pub(crate) fn history(&self, name: &str) -> Vec<Point> {
        self.state().history.get(name).cloned().unwrap_or_default()
    }

    /// The last commit that touches a name.
    pub(crate) fn committed(&self, name: &str) -> u64 {
        self.history(name).last().map_or(0, |point| point.seq)
    }

    /// The last commit of a name that the follower has learned for sure.
    pub(crate) fn followed(&self, name: &str) -> u64 {
        self.state().learned.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn notify(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn hold(&self, at: At) {
        self.gates[at as usize].held.send_replace(true);
    }

    pub(crate) fn release(&self, at: At) {
        self.gates[at as usize].held.send_replace(false);
    }

    /// How many have come to a place.
    pub(crate) fn arrived(&self, at: At) -> u64 {
        *self.gates[at as usize].arrived.borrow()
    }

    /// Waits until so many have come to a place.
    pub(crate) async fn reached(&self, at: At, count: u64) {
        let mut arrived = self.gates[at as usize].arrived.subscribe();
        let wait = timeout(Duration::from_secs(20), arrived.wait_for(|&arrived| arrived >= count));
        assert!(wait.await.is_ok(), "only {} have come to {at:?}, not {count}", self.arrived(at));
    }

    /// Reads all names at one moment.
    pub(crate) async fn load(&self, names: Vec<String>) -> Result<Loaded<Item>, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panic_loads.load(Ordering::SeqCst), "a load that panics on purpose");
        self.gate(At::Load).await;
        if self.fail_loads.load(Ordering::SeqCst) || self.chance(0.03) {
            return Err(LoadError::Unavailable("away".into()));
        }
        assert!(!self.chance(0.005), "a load that panics on purpose");
        let loaded = {
            let state = self.state();
            let values = names.iter().map(|name| state.read(name)).collect();
            let incarnation = state.claim.map_or(Some(Incarnation(state.incarnation)), |claim| claim.0);
            Loaded { values, incarnation, horizon: state.open.first().copied().unwrap_or(state.next), witness: None }
        };
        self.gate(At::Loaded).await;
        Ok(loaded)
    }

    /// Lets other tasks run, as often as chance will have it.
    pub(crate) async fn dawdle(&self) {
        let times = self.chaos.as_ref().map_or(0, |rng| rng.lock().unwrap().random_range(0..5));
        for _ in 0..times {
            yield_now().await;
        }
    }

    pub(crate) fn chance(&self, share: f64) -> bool {
        self.chaos.as_ref().is_some_and(|rng| rng.lock().unwrap().random_bool(share))
    }

    async fn gate(&self, at: At) {
        let gate = &self.gates[at as usize];
        gate.arrived.send_modify(|arrived| *arrived += 1);
        let mut held = gate.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        self.dawdle().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn read(&self, name: &str) -> Option<Item> {
        let exists = !name.starts_with("item:");
        let point = self.history.get(name).and_then(|history| history.last());
        let terms = self.terms.get(name).cloned().unwrap_or_default();
        point.map_or(exists, |point| point.exists).then(|| Item {
            seq: point.map_or(0, |point| point.seq),
            terms,
            bytes: self.bytes,
        })
    }

    /// What a subject touches: an entry itself and its lists; a term or everything the items that exist.
    fn touched(&self, subject: &Subject) -> Vec<String> {
        let items = || self.history.keys().filter(|name| self.read(name).is_some() && name.starts_with("item:"));
        match subject {
            Subject::Entry { key, terms, .. } => {
                [key.as_str(), ANY].into_iter().map(str::to_owned).chain(terms.iter().cloned()).collect()
            }
            Subject::Key(key) => vec![key.clone()],
            Subject::Term(term) => {
                items().filter(|&name| self.terms.get(name).is_some_and(|t| t.contains(term))).cloned().collect()
            }
            Subject::Pattern(pattern) => match Glob::parse(pattern) {
                Ok(glob) => items().filter(|name| glob.matches(name)).cloned().collect(),
                Err(_) => items().cloned().collect(),
            },
            Subject::All => items().cloned().collect(),
        }
    }
}

impl ChangeLog for Database {
    async fn pass(&self, since: Option<(&Snapshot, Incarnation)>, limit: u32) -> Result<LogBatch, String> {
        if let Some((since, incarnation)) = since {
            // Whoever asks for what came after a snapshot has learned what came before it.
            let State { log, learned, incarnation: now, .. } = &mut *self.state();
            let seen = log.iter().filter(|row| incarnation.0 == *now && since.sees(row.change.id));
            for (name, seq) in seen.flat_map(|row| row.names.iter().map(|name| (name, row.seq))) {
                let learned = learned.entry(name.clone()).or_default();
                *learned = seq.max(*learned);
            }
        }
        self.gate(At::Pass).await;
        if self.fail_passes.load(Ordering::SeqCst) || self.chance(0.15) {
            return Err("away".to_owned());
        }
        let pass = {
            let state = self.state();
            let snapshot = Snapshot {
                xmin: state.open.first().copied().unwrap_or(state.next),
                xmax: state.next,
                in_progress: state.open.iter().copied().collect(),
                salt: None,
            };
            let news = since.filter(|(_, incarnation)| incarnation.0 == state.incarnation).map(|(since, _)| {
                let news = state.log.iter().map(|row| &row.change).filter(|change| !since.sees(change.id));
                news.cloned().collect::<Vec<_>>()
            });
            let news = match news
                .filter(|_| !self.incomplete.load(Ordering::SeqCst))
                .filter(|changes| changes.len() <= limit as usize)
            {
                Some(changes) => Changes::Complete(changes),
                None if self.incomplete.load(Ordering::SeqCst) => Changes::Incomplete("a trigger is off".into()),
                None if state.log.len() <= limit as usize => {
                    Changes::Window { from: 0, changes: state.log.iter().map(|row| row.change.clone()).collect() }
                }
                None => Changes::Window { from: snapshot.xmax, changes: Vec::new() },
            };
            LogBatch { snapshot, incarnation: Incarnation(state.incarnation), lineage: None, changes: news }
        };
        self.gate(At::Passed).await;
        Ok(pass)
    }

    async fn recall(&self, changes: &[Witness]) -> Result<Recall, String> {
        if self.fail_passes.load(Ordering::SeqCst) {
            return Err("away".to_owned());
        }
        let state = self.state();
        let of = |asked: &Witness| {
            if state.log.iter().any(|row| row.change.id == asked.id && row.change.salt == asked.salt) {
                Recalled::Here
            } else if asked.id < state.pruned {
                Recalled::Pruned
            } else {
                Recalled::Unknown
            }
        };
        Ok(Recall { incarnation: Incarnation(state.incarnation), changes: changes.iter().map(of).collect() })
    }

    async fn changed(&self, at_most: Duration) {
        let _ = timeout(at_most, self.wake.notified()).await;
    }
}

/// A change of an item and of the lists of its terms.
pub(crate) fn entry(key: &str, terms: &[&str]) -> Subject {
    Subject::Entry { key: key.to_owned(), version: 0, terms: terms.iter().map(|&term| term.to_owned()).collect() }
}

/// The very change that a commit made.
pub(crate) fn committed(id: u64, subject: &Subject, seq: u64) -> Change {
    let subject = match subject.clone() {
        Subject::Entry { key, terms, .. } => Subject::Entry { key, version: i64::try_from(seq).unwrap(), terms },
        other => other,
    };
    Change { id, salt: SALT ^ seq, subject, cause: Cause::default() }
}

pub(crate) fn list(term: &str) -> Key {
    Key::list(format!("list:{term}"), term)
}

pub(crate) fn seq(found: &Found<Item>) -> Option<u64> {
    found.entry.value.as_ref().map(|item| item.seq)
}

/// Where the database keeps what belongs to a key.
fn source(key: &Key) -> String {
    key.term.as_ref().unwrap_or(&key.name).to_string()
}

/// Waits for what nothing announces.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_mins(1), wait).await.expect("what was waited for did not come");
}
