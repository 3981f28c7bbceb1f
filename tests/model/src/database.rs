//! The database: transactions under MVCC, row locks, the change log, its pruning, and a crash that loses commits.

use crate::{Protocol, Remedy, Script, Subject};

/// A transaction id.
pub type Xid = u8;
/// A row's version.
pub type Version = u8;
/// The number of a transaction in its scenario.
pub type Tx = u8;

const FIRST_XID: Xid = 1;
const FIRST_VERSION: Version = 1;

/// A row of the change log, and a message of the bus: they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    /// The incarnation in which it was committed.
    pub life: u8,
    /// Its transaction's id.
    pub xid: Xid,
    /// The version that was drawn; 0 where none was.
    pub version: Version,
    /// Its transaction, by the number in the scenario.
    pub tx: Tx,
}

/// What a statement could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Everything below has ended: the horizon.
    pub xmin: Xid,
    /// Nothing from here on had begun.
    pub xmax: Xid,
    /// Those in between that were running, one bit each.
    pub running: u16,
}

impl Snapshot {
    /// Whether the transaction, if it committed, is seen.
    pub fn sees(self, xid: Xid) -> bool {
        xid < self.xmax && self.running & (1 << xid) == 0
    }
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has not begun.
    Idle,
    /// It has an id.
    Begun(Xid),
    /// It has drawn a version, but waits for the row.
    Drawn(Written),
    /// It has written, and holds the row's lock.
    Written(Written),
    /// It has committed or rolled back.
    Over,
}

/// What a statement wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Written {
    xid: Xid,
    version: Version,
    /// The horizon of the statement's snapshot.
    pub horizon: Xid,
}

/// What a read returns: which commit's state it is, and what is known of it from the same statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// What was read.
    pub subject: Subject,
    /// The last commit that touched it, plus one; 0 is what was there at first. No reader sees this: it is for the judge.
    pub stamp: u8,
    /// The row's version; `None` for "not found" and for lists.
    pub version: Option<Version>,
    /// The incarnation of the database that returned it.
    pub life: u8,
}

/// The origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// The incarnation.
    pub life: u8,
    /// Every commit of this life, those before a crash included, in the order in which they were made.
    pub commits: Vec<Change>,
    /// How many commits the crash has left.
    pub kept: u8,
    /// The commits it has not.
    pub lost: Vec<Change>,
    /// The lowest id that is still in the change log: W.
    pub pruned: Xid,
    phases: Vec<Phase>,
    next_xid: Xid,
    next_version: Version,
    row: Option<Version>,
}

impl Database {
    /// Before the first transaction.
    pub fn new(world: &Protocol) -> Self {
        Self {
            life: 1,
            commits: Vec::new(),
            kept: 0,
            lost: Vec::new(),
            pruned: FIRST_XID,
            phases: vec![Phase::Idle; world.scenario.scripts.len()],
            next_xid: FIRST_XID,
            next_version: FIRST_VERSION + 1,
            row: world.scenario.exists.then_some(FIRST_VERSION),
        }
    }

    /// How far a transaction has come.
    pub fn phase(&self, tx: Tx) -> Phase {
        self.phases[usize::from(tx)]
    }

    /// What a statement sees now.
    pub fn snapshot(&self) -> Snapshot {
        let running = self.running().fold(0, |running, xid| running | 1 << xid);
        Snapshot { xmin: self.running().min().unwrap_or(self.next_xid), xmax: self.next_xid, running }
    }

    /// What a read returns now.
    pub fn read(&self, world: &Protocol, subject: Subject) -> Content {
        let last = self.commits.iter().rev().find(|change| world.script(change.tx).touches(subject));
        Content {
            subject,
            stamp: last.map_or(0, |change| change.tx + 1),
            version: self.row.filter(|_| subject == Subject::Item),
            life: self.life,
        }
    }

    /// What the writer of a commit knows of the row.
    pub fn written(&self, commit: usize) -> Content {
        let Change { life, version, tx, .. } = self.commits[commit];
        Content { subject: Subject::Item, stamp: tx + 1, version: Some(version), life }
    }

    /// Every commit of a life, in the order in which they were made.
    pub fn history(&self, life: u8) -> impl Iterator<Item = &Change> {
        let now = life == self.life;
        let kept = if now { self.commits.len() } else { usize::from(self.kept) };
        self.commits.iter().take(kept).chain(self.lost.iter().filter(move |_| !now))
    }

    /// The rows of the change log.
    pub fn log(&self) -> impl Iterator<Item = &Change> {
        self.commits.iter().filter(|change| change.xid >= self.pruned)
    }

    /// Whether a transaction may begin. Of two that do the same, the first begins first: the rest is symmetry.
    pub fn may_begin(&self, world: &Protocol, tx: Tx) -> bool {
        let twin = tx.checked_sub(1).filter(|&before| world.script(before) == world.script(tx));
        self.phase(tx) == Phase::Idle && twin.is_none_or(|before| self.phase(before) != Phase::Idle)
    }

    /// A transaction begins, and draws its id.
    pub fn begin(&mut self, tx: Tx) {
        self.set(tx, Phase::Begun(self.next_xid));
        self.next_xid += 1;
    }

    /// An insert draws its version, before it knows whether the row's lock is free.
    pub fn draw(&mut self, tx: Tx) {
        let Phase::Begun(xid) = self.phase(tx) else { return };
        let written = Written { xid, version: self.next_version, horizon: self.snapshot().xmin };
        self.next_version += 1;
        self.set(tx, Phase::Drawn(written));
    }

    /// Whether a transaction can write: nobody else holds the row's lock, and there is a row, or none, as it takes.
    pub fn may_write(&self, script: Script) -> bool {
        let locked = self.phases.iter().any(|phase| matches!(phase, Phase::Written(_)));
        script != Script::Other && !locked && self.row.is_none() == (script == Script::Insert)
    }

    /// A transaction writes under the row's lock, and its trigger draws the version.
    pub fn write(&mut self, world: &Protocol, tx: Tx) {
        let written = match self.phase(tx) {
            Phase::Drawn(written) => written,
            Phase::Begun(xid) => {
                let draws = match world.script(tx) {
                    Script::Delete => world.has(Remedy::DeleteDrawsVersion),
                    Script::InvalidateKey | Script::InvalidateAll | Script::Other => false,
                    Script::Update | Script::Move | Script::Insert => true,
                };
                let version = if draws { self.next_version } else { 0 };
                self.next_version += u8::from(draws);
                Written { xid, version, horizon: self.snapshot().xmin }
            }
            Phase::Idle | Phase::Written(_) | Phase::Over => return,
        };
        self.set(tx, Phase::Written(written));
    }

    /// A transaction commits. Returns what it wrote.
    pub fn commit(&mut self, world: &Protocol, tx: Tx) -> Option<Written> {
        let Phase::Written(written) = self.phase(tx) else { return None };
        let Written { xid, version, .. } = written;
        self.set(tx, Phase::Over);
        self.commits.push(Change { life: self.life, xid, version, tx });
        self.row = apply(self.row, world.script(tx), version);
        Some(written)
    }

    /// A transaction rolls back.
    pub fn abort(&mut self, tx: Tx) {
        self.set(tx, Phase::Over);
    }

    /// The change log loses what is below the horizon of now: W is never higher than that.
    pub fn prune(&mut self) {
        self.pruned = self.snapshot().xmin;
    }

    /// The database crashes, loses its last `lost` commits, and uses their numbers again: another life.
    pub fn lose(&mut self, world: &Protocol, lost: usize) {
        let kept = self.commits.len() - lost;
        self.lost = self.commits.split_off(kept);
        self.kept = u8::try_from(kept).unwrap_or(u8::MAX);
        self.life += 1;
        for phase in &mut self.phases {
            if *phase != Phase::Idle {
                *phase = Phase::Over;
            }
        }
        self.next_xid = self.commits.iter().map(|change| change.xid + 1).max().unwrap_or(FIRST_XID);
        self.next_version = self.commits.iter().map(|change| change.version + 1).fold(FIRST_VERSION + 1, Version::max);
        self.pruned = self.pruned.min(self.next_xid);
        let first = world.scenario.exists.then_some(FIRST_VERSION);
        self.row = self.commits.iter().fold(first, |row, change| apply(row, world.script(change.tx), change.version));
    }

    fn running(&self) -> impl Iterator<Item = Xid> {
        self.phases.iter().filter_map(|phase| match phase {
            Phase::Begun(xid) | Phase::Drawn(Written { xid, .. }) | Phase::Written(Written { xid, .. }) => Some(*xid),
            Phase::Idle | Phase::Over => None,
        })
    }

    fn set(&mut self, tx: Tx, phase: Phase) {
        self.phases[usize::from(tx)] = phase;
    }
}

fn apply(row: Option<Version>, script: Script, version: Version) -> Option<Version> {
    match script {
        Script::Update | Script::Move | Script::Insert => Some(version),
        Script::Delete => None,
        Script::InvalidateKey | Script::InvalidateAll | Script::Other => row,
    }
}
