//! The database and its lives: what can be put back, and what cannot.

use super::{
    Protocol,
    scenario::Kind,
    sets::{Key, ROWS, Salt, Salts},
};
use crate::Remedy;

/// A transaction id, or the number of a change in SQLite. Another life uses it again.
pub type Id = u8;

/// A commit. Its salt is its number among those of all lives; the judge goes by it, and so may a protocol that looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Its id.
    pub id: Id,
    /// The row it changed.
    pub key: Key,
    /// The row's version from then on.
    pub version: u8,
    /// The incarnation in which it was committed.
    pub of: Incarnation,
    /// Whether the triggers saw it.
    pub logged: bool,
}

/// A row: which commit wrote it last, and what its version is. A change that no trigger saw leaves the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Row {
    /// The commit's salt; 0 is what was there at first.
    pub stamp: Salt,
    /// Its version.
    pub version: u8,
}

/// What can be put back: the content, and everything that is stored beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct File {
    /// The rows.
    pub rows: [Row; ROWS],
    /// The change log, in the order of the commits.
    pub log: Vec<Salt>,
    /// The lowest id that is still in the log: W.
    pub pruned: Id,
    /// Whether all triggers are there and fire.
    pub whole: bool,
    /// The life id.
    pub life: u8,
    /// When the triggers were altered last: by which transaction, or in which version of the schema.
    pub triggers: Id,
    next: Id,
    tables: u8,
}

impl File {
    /// The newest change of its log.
    pub fn newest(&self) -> Option<Salt> {
        self.log.last().copied()
    }
}

/// One life of the database, as far as the protocol can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation([u8; 5]);

impl Incarnation {
    /// Whether nothing but the start of the server tells it from another one.
    pub fn restarted(self, other: Self) -> bool {
        let lineage = |Self([place, life, _, tables, triggers])| [place, life, tables, triggers];
        lineage(self) == lineage(other)
    }
}

/// What a statement could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
    /// Everything below has ended: the horizon.
    pub xmin: Id,
    /// Nothing from here on had begun.
    pub xmax: Id,
    running: u64,
}

impl Snapshot {
    /// Whether the change with this id, if it was committed, is seen.
    pub fn sees(self, id: Id) -> bool {
        id < self.xmax && self.running & (1 << id) == 0
    }

    /// Whether it sees everything that another one sees.
    pub fn covers(self, other: Self) -> bool {
        (0..other.xmax).all(|id| self.sees(id) || !other.sees(id))
    }
}

/// The origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// Every commit of every life, by its salt less one.
    pub commits: Vec<Commit>,
    /// What is there now.
    pub file: File,
    /// Every state that was ever committed, any of which may be put back.
    pub saved: Vec<File>,
    /// Which file is under the path.
    pub place: u8,
    /// How often something has struck.
    pub struck: u8,
    open: Vec<(Id, Key)>,
    unlinked: Option<File>,
    start: u8,
    fresh: u8,
}

impl Default for Database {
    /// Before the first commit.
    fn default() -> Self {
        let rows = [Row::default(); ROWS];
        let file = File { rows, log: Vec::new(), pruned: 1, whole: true, next: 1, life: 1, tables: 1, triggers: 0 };
        Self {
            commits: Vec::new(),
            saved: vec![file.clone()],
            file,
            place: 1,
            struck: 0,
            open: Vec::new(),
            unlinked: None,
            start: 1,
            fresh: 1,
        }
    }
}

impl Database {
    /// A commit by its salt.
    pub fn commit(&self, salt: Salt) -> &Commit {
        &self.commits[usize::from(salt) - 1]
    }

    /// The file that a replica has open, be it under the path or not.
    pub fn opened(&self, place: u8) -> &File {
        self.unlinked.as_ref().filter(|_| place != self.place).unwrap_or(&self.file)
    }

    /// Which life it is: what is put back with the content, and what is not.
    pub fn incarnation(&self, world: &Protocol, place: u8, file: &File) -> Incarnation {
        let start = if world.scenario.kind == Kind::Postgres { self.start } else { 0 };
        let if_has = |remedy, part: u8| if world.has(remedy) { part } else { 0 };
        Incarnation([
            place,
            file.life,
            if_has(Remedy::StartTimeInIncarnation, start),
            if_has(Remedy::TablesInIncarnation, file.tables),
            if_has(Remedy::TriggersInIncarnation, file.triggers),
        ])
    }

    /// What a statement sees of a file.
    pub fn snapshot(&self, world: &Protocol, file: &File) -> Snapshot {
        if world.scenario.kind == Kind::Sqlite {
            let next = file.newest().map_or(file.pruned, |newest| self.commit(newest).id + 1);
            return Snapshot { xmin: next, xmax: next, running: 0 };
        }
        let running = self.open.iter().fold(0, |running, (id, _)| running | 1 << id);
        let xmin = self.open.iter().map(|(id, _)| *id).min().unwrap_or(file.next);
        Snapshot { xmin, xmax: file.next, running }
    }

    /// The changes that are still in a file's log. The newest is never pruned.
    pub fn kept(&self, file: &File) -> Salts {
        let newest = file.newest();
        file.log.iter().copied().filter(|&salt| Some(salt) == newest || self.commit(salt).id >= file.pruned).collect()
    }

    /// The transactions that may commit now.
    pub fn open(&self) -> impl Iterator<Item = Id> {
        self.open.iter().map(|(id, _)| *id)
    }

    /// Whether a transaction on a row may begin: nobody else has its lock.
    pub fn may_begin(&self, world: &Protocol, key: Key) -> bool {
        self.open.len() < world.scenario.at_once && self.open.iter().all(|(_, other)| *other != key)
    }

    /// A transaction begins, takes its id and the row's lock.
    pub fn begin(&mut self, key: Key) {
        self.open.push((self.file.next, key));
        self.file.next += 1;
    }

    /// It commits.
    pub fn end(&mut self, world: &Protocol, id: Id) {
        let Some(place) = self.open.iter().position(|(other, _)| *other == id) else { return };
        let (_, key) = self.open.remove(place);
        let salt = self.change(world, id, key);
        if self.file.whole {
            self.file.rows[usize::from(key)].version += 1;
            let commit = &mut self.commits[usize::from(salt) - 1];
            commit.version += 1;
            commit.logged = true;
            self.file.log.push(salt);
        }
        self.save();
    }

    /// The triggers are switched off, or on again.
    pub fn alter(&mut self) {
        self.strike();
        self.file.whole = !self.file.whole;
        self.alter_triggers();
    }

    /// One transaction switches the triggers off, changes a row, and switches them on again.
    pub fn slip(&mut self, world: &Protocol, key: Key) {
        self.strike();
        self.change(world, self.file.next, key);
        self.alter_triggers();
    }

    /// The change log loses what is below the horizon of now.
    pub fn prune(&mut self, world: &Protocol) {
        self.file.pruned = self.snapshot(world, &self.file).xmin;
    }

    /// A state is put back as it was, under a server that is stopped.
    pub fn put_back(&mut self, state: usize) {
        self.strike();
        self.file = self.saved[state].clone();
        self.open.clear();
        self.start = self.fresh();
    }

    /// A state is restored from a dump, under the server that goes on: its tables and their triggers are others.
    pub fn restore(&mut self, state: usize) {
        self.strike();
        let next = self.file.next;
        self.file = File { next, tables: self.fresh(), ..self.saved[state].clone() };
        self.open.clear();
        self.alter_triggers();
    }

    /// Whether a state is one that the present life has passed through, so that a crash may come back to it.
    pub fn led_from(&self, state: &File) -> bool {
        self.file.log.starts_with(&state.log) && state.tables == self.file.tables && state.life == self.file.life
    }

    /// The server crashes, and comes back with fewer commits. What was not logged for recovery is empty then.
    pub fn crash(&mut self, world: &Protocol, state: usize) {
        self.strike();
        self.file = self.saved[state].clone();
        self.open.clear();
        if world.has(Remedy::UnloggedLifeId) {
            self.rename();
        }
    }

    /// The server stops and starts.
    pub fn restart(&mut self) {
        self.strike();
        self.open.clear();
        self.start = self.fresh();
    }

    /// Another file comes under the path.
    pub fn replace(&mut self, state: usize) {
        self.strike();
        let file = self.saved[state].clone();
        self.unlinked = Some(std::mem::replace(&mut self.file, file));
        self.open.clear();
        self.place = self.fresh();
    }

    /// Somebody who noticed inserts a new life id, unless another was faster.
    pub fn rename_from(&mut self, life: u8) {
        if self.file.life == life {
            self.rename();
            self.save();
        }
    }

    fn rename(&mut self) {
        self.file.life = self.fresh();
    }

    fn alter_triggers(&mut self) {
        self.file.triggers = self.file.next;
        self.file.next += 1;
        self.save();
    }

    /// A row changes. Its version is drawn by the trigger.
    fn change(&mut self, world: &Protocol, id: Id, key: Key) -> Salt {
        let of = self.incarnation(world, self.place, &self.file);
        let row = &mut self.file.rows[usize::from(key)];
        self.commits.push(Commit { id, key, version: row.version, of, logged: false });
        row.stamp = Salt::try_from(self.commits.len()).unwrap_or(Salt::MAX);
        row.stamp
    }

    fn strike(&mut self) {
        self.struck += 1;
    }

    fn fresh(&mut self) -> u8 {
        self.fresh += 1;
        self.fresh
    }

    fn save(&mut self) {
        if !self.saved.contains(&self.file) {
            self.saved.push(self.file.clone());
        }
    }
}
