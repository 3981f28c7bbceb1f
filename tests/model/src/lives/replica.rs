//! A replica: what it has learned, its copies, a load and a pass under way.

use super::{
    Protocol,
    database::{Database, File, Id, Incarnation, Snapshot},
    scenario::Kind,
    sets::{Key, ROWS, Salt, Salts, Since},
};
use crate::Remedy;

/// What the last pass saw.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// Of which life.
    pub of: Incarnation,
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// Every change that it saw.
    pub seen: Salts,
    /// Those of them that the log still told.
    pub kept: Salts,
    /// The newest of them.
    pub newest: Option<Salt>,
    /// W.
    pub pruned: Id,
    /// Whether it proves anything: the triggers were all there.
    pub proves: bool,
    /// What the rows were since it was made. Only the judge asks.
    pub since: Since,
    /// When the triggers were altered last.
    triggers: Id,
}

/// What was learned of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Known {
    version: u8,
    change: Id,
}

/// A copy in L2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Which row.
    pub key: Key,
    /// The commit whose state it holds. No reader sees this.
    pub stamp: Salt,
    version: u8,
    of: Incarnation,
    horizon: Id,
    /// The newest change that it saw.
    witness: Option<Salt>,
}

/// A load under way: it has read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Load {
    frame: Frame,
    /// Which file it read.
    place: u8,
    /// Whether a standby answered it.
    standby: bool,
    /// The newest change of the view that was captured before it.
    floor: Option<Salt>,
    /// Whether nothing that touches it was learned since.
    stands: bool,
    /// Whether no pass has asked since.
    alone: bool,
    /// What the rows were since it began.
    since: Since,
}

/// A pass under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pass {
    /// It has asked.
    Asked {
        /// What it will publish.
        view: Box<View>,
        /// Where knowledge starts, if it does not continue the pass before.
        anew: Option<Id>,
        /// What it tells of.
        changes: Salts,
        /// What it looked for, and found.
        found: Salts,
    },
    /// It has asked, and only the server's start is another one: the copies may be kept.
    Restarted {
        /// What it will publish.
        view: Box<View>,
        /// What it tells of.
        changes: Salts,
        /// Those of them that the last pass had not seen.
        new: Salts,
    },
    /// The log is not the one of the pass before; a new life id is to be inserted in the place of this one.
    Rename(u8),
}

/// One process of the service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The last pass's view.
    pub view: Option<View>,
    /// The copies: the commits whose states they hold.
    pub l1: [Option<Salt>; ROWS],
    /// The copies that landed since the last pass began, and those since the pass began that is under way.
    landed: [[bool; ROWS]; 2],
    /// The last changes that a pass found above the pass before.
    batch: Salts,
    /// The load that is under way.
    pub load: Option<Load>,
    /// The pass that is under way.
    pub pass: Option<Pass>,
    known: [Known; ROWS],
    start: Id,
    /// Changes that were learned a moment ago.
    noted: Salts,
    /// The newest changes that loads saw, which no pass has looked for yet.
    saw: Salts,
    place: u8,
}

/// Makes the frame of a row as it is in a file.
pub fn frame(world: &Protocol, database: &Database, place: u8, file: &File, key: Key) -> Frame {
    let row = file.rows[usize::from(key)];
    Frame {
        key,
        stamp: row.stamp,
        version: row.version,
        of: database.incarnation(world, place, file),
        horizon: database.snapshot(world, file).xmin,
        witness: file.newest().filter(|_| world.scenario.kind == Kind::Sqlite),
    }
}

impl Replica {
    /// A process that has just started, and has opened the file under the path.
    pub fn new(place: u8) -> Self {
        Self {
            view: None,
            l1: [None; ROWS],
            landed: [[false; ROWS]; 2],
            batch: Salts::default(),
            load: None,
            pass: None,
            known: [Known::default(); ROWS],
            start: 0,
            noted: Salts::default(),
            saw: Salts::default(),
            place,
        }
    }

    /// The database is in another state: the judge takes note.
    pub fn observe(&mut self, database: &Database) {
        let asked = match &mut self.pass {
            Some(Pass::Asked { view, .. } | Pass::Restarted { view, .. }) => Some(&mut view.since),
            Some(Pass::Rename(_)) | None => None,
        };
        let view = self.view.as_mut().map(|view| &mut view.since);
        let load = self.load.as_mut().map(|load| &mut load.since);
        for since in [asked, view, load].into_iter().flatten() {
            since.observe(database);
        }
    }

    /// The copy that L1 may serve.
    pub fn hit(&self, key: Key) -> Option<Salt> {
        self.l1[usize::from(key)].filter(|_| self.view.as_ref().is_some_and(|view| view.proves))
    }

    /// Whether a frame may be used.
    pub fn accepts(&self, world: &Protocol, frame: &Frame) -> bool {
        let Some(view) = self.view.as_ref().filter(|view| view.proves) else { return false };
        let Known { version, change } = self.known[usize::from(frame.key)];
        let witnessed = frame.witness.is_none_or(|witness| view.kept.has(witness));
        (frame.of == view.of || !world.has(Remedy::FrameOfOurLife))
            && frame.horizon >= self.start
            && (change < frame.horizon || version <= frame.version)
            && (witnessed || !world.has(Remedy::FrameNamesNewestChange))
    }

    /// Takes a frame from L2 into L1.
    pub fn take(&mut self, frame: &Frame) {
        self.store(frame.key, frame.stamp);
    }

    fn store(&mut self, key: Key, stamp: Salt) {
        self.l1[usize::from(key)] = Some(stamp);
        self.landed.iter_mut().for_each(|landed| landed[usize::from(key)] = true);
    }

    /// A load reads, from the file that is open or from a standby.
    pub fn load(&mut self, world: &Protocol, database: &Database, key: Key, standby: Option<usize>) {
        let file = standby.map_or_else(|| database.opened(self.place), |state| &database.saved[state]);
        let frame = Frame {
            of: database.incarnation(world, self.place, database.opened(self.place)),
            ..frame(world, database, self.place, file, key)
        };
        self.load = Some(Load {
            frame,
            place: self.place,
            standby: standby.is_some(),
            floor: self.view.as_ref().and_then(|view| view.newest),
            stands: true,
            alone: true,
            since: Since::now(database),
        });
    }

    /// The load comes back: it is stored in L1, if it may be, and served. Returns whether what was served fresh was right.
    pub fn land(&mut self, world: &Protocol, database: &Database) -> bool {
        let Some(load) = self.load.take() else { return true };
        let Some(view) = &self.view else { return true };
        let Frame { key, stamp, of, witness, .. } = load.frame;
        let linked = load.place == database.place || !world.has(Remedy::LoadOfFileUnderPath);
        let primary = !load.standby || !world.has(Remedy::NothingOfStandby);
        let ours = of == view.of && linked && primary;
        if ours && view.proves && load.stands && self.is_of_our_life(world, database, &load) {
            let unseen = witness.filter(|&witness| !view.seen.has(witness));
            self.store(key, stamp);
            if let Some(witness) = unseen {
                self.saw(world, database, witness);
            }
        }
        // What is not ours is served marked stale.
        !ours || load.since.had(key, stamp)
    }

    /// Whether a load of SQLite, which may have been put back at any moment, is of the life that the view is of.
    fn is_of_our_life(&self, world: &Protocol, database: &Database, load: &Load) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| world.scenario.kind == Kind::Sqlite) else { return true };
        let id = |salt: Option<Salt>| salt.map_or(0, |salt| database.commit(salt).id);
        let Load { frame: Frame { witness, .. }, floor, alone, .. } = load;
        let not_below = id(*witness) >= id(*floor) || !world.has(Remedy::LoadNotBelowPass);
        let in_log =
            if id(*witness) > id(view.newest) { *alone } else { witness.is_none_or(|witness| view.kept.has(witness)) };
        not_below && (in_log || !world.has(Remedy::LoadLandsInOurLog))
    }

    fn saw(&mut self, world: &Protocol, database: &Database, witness: Salt) {
        let id = |salt: Salt| database.commit(salt).id;
        if world.has(Remedy::EveryLoadIsLookedFor) {
            self.saw.add(witness);
        } else if self.saw.iter().all(|before| id(before) <= id(witness)) {
            self.saw = Salts::from_iter([witness]);
        }
    }

    /// Learns a change: of a message, of an own write, or of the log. What was learned before is remembered again, but drops
    /// nothing: its copies went then.
    pub fn learn(&mut self, database: &Database, salt: Salt) {
        let commit = database.commit(salt);
        let known = &mut self.known[usize::from(commit.key)];
        known.version = known.version.max(commit.version);
        known.change = known.change.max(commit.id);
        if !self.noted.has(salt) {
            self.l1[usize::from(commit.key)] = None;
            if let Some(load) = self.load.as_mut().filter(|load| load.frame.key == commit.key) {
                load.stands = false;
            }
            self.noted.add(salt);
        }
    }

    /// A pass asks.
    pub fn ask(&mut self, world: &Protocol, database: &Database) {
        self.place = database.place;
        self.landed[1] = [false; ROWS];
        let file = &database.file;
        if let Some(load) = &mut self.load {
            load.alone = false;
        }
        let view = View {
            of: database.incarnation(world, self.place, file),
            snapshot: database.snapshot(world, file),
            seen: file.log.iter().copied().collect(),
            kept: database.kept(file),
            newest: file.newest(),
            pruned: file.pruned,
            proves: file.whole || !world.has(Remedy::TriggersWhole),
            since: Since::now(database),
            triggers: file.triggers,
        };
        self.pass = Some(self.compare(world, database, view));
    }

    /// Compares what a pass found with the pass before.
    fn compare(&self, world: &Protocol, database: &Database, view: View) -> Pass {
        let window = |view: View| {
            let changes = view.kept;
            let start = if world.has(Remedy::StartAtPruned) { view.pruned } else { 0 };
            Pass::Asked { anew: Some(start), view: Box::new(view), changes, found: Salts::default() }
        };
        let Some(last) = self.view.as_ref().filter(|last| last.of == view.of) else {
            return match self.new_since_restart(world, database, &view) {
                Some(new) => Pass::Restarted { changes: view.kept, view: Box::new(view), new },
                None => window(view),
            };
        };
        let found = self.looked_for(world, last);
        let went_back = match world.scenario.kind {
            Kind::Sqlite => !found.within(view.seen),
            Kind::Postgres => view.snapshot.xmax < last.snapshot.xmax,
        };
        if went_back {
            return Pass::Rename(database.file.life);
        }
        if view.pruned > last.snapshot.xmin && world.has(Remedy::SleeperStartsAnew) {
            return window(view);
        }
        let altered = last.triggers != view.triggers;
        let anew = altered.then_some(view.snapshot.xmax);
        let new = view.kept.iter().filter(|&salt| !last.snapshot.sees(database.commit(salt).id)).collect();
        let changes = if altered { Salts::default() } else { new };
        Pass::Asked { view: Box::new(view), anew, changes, found }
    }

    /// The changes that the last pass had not seen, if the server has only been started anew since, perhaps over a cold copy that
    /// has everything the last pass saw: then the log has every change of the last batch, among which is one of the last life that
    /// wrote anything.
    fn new_since_restart(&self, world: &Protocol, database: &Database, view: &View) -> Option<Salts> {
        let last = self.view.as_ref().filter(|last| last.of.restarted(view.of) && last.proves && view.proves)?;
        let id = |salt: Salt| database.commit(salt).id;
        let in_place = self.batch != Salts::default() && self.batch.within(view.kept);
        if (!in_place && world.has(Remedy::LastBatchInPlace)) || view.pruned > last.snapshot.xmin {
            return None;
        }
        let top = self.batch.iter().map(id).max().unwrap_or(0);
        let above = |salt: Salt| id(salt) > top && world.has(Remedy::AboveLastBatchIsNew);
        Some(view.kept.iter().filter(|&salt| above(salt) || !last.snapshot.sees(id(salt))).collect())
    }

    /// The changes that a pass over SQLite looks for, with their salts.
    fn looked_for(&self, world: &Protocol, last: &View) -> Salts {
        let of_pass = last.newest.filter(|_| world.has(Remedy::PassLooksForNewest)).into_iter().collect();
        let of_loads = if world.has(Remedy::PassLooksForLoads) { self.saw } else { Salts::default() };
        if world.scenario.kind == Kind::Sqlite { of_loads.and(of_pass) } else { Salts::default() }
    }

    /// A pass learns what it found, and publishes; or returns the life id in the place of which it inserts a new one.
    pub fn follow(&mut self, world: &Protocol, database: &Database) -> Option<u8> {
        let (view, anew, changes, found) = match self.pass.take()? {
            Pass::Asked { view, anew, changes, found } => (view, anew, changes, found),
            Pass::Restarted { view, changes, new } => {
                self.keep(world, database, *view, changes, new);
                return None;
            }
            Pass::Rename(life) => return Some(life),
        };
        if anew.is_none() && changes != Salts::default() {
            self.batch = changes;
        }
        self.landed[0] = self.landed[1];
        if let Some(start) = anew {
            let fresh = Self::new(self.place);
            let load = self.load.take().map(|load| Load { stands: false, ..load });
            *self = Self { load, start, ..fresh };
        }
        if world.scenario.kind == Kind::Sqlite && world.has(Remedy::LogIsLearnedToTheEnd) {
            self.noted = self.noted.without(changes);
        }
        for salt in changes.iter() {
            self.learn(database, salt);
        }
        self.saw = self.saw.without(found);
        self.view = Some(*view);
        None
    }

    /// A pass found that the server was started anew: knowledge starts anew, and the copies are kept.
    fn keep(&mut self, world: &Protocol, database: &Database, view: View, changes: Salts, new: Salts) {
        let Self { l1, batch, place, .. } = *self;
        let landed = self.landed;
        let load = self.load.take().map(|load| Load { stands: false, ..load });
        *self = Self {
            l1,
            load,
            start: if world.has(Remedy::StartAtPruned) { view.pruned } else { 0 },
            ..Self::new(place)
        };
        self.noted = changes.without(new);
        changes.iter().for_each(|salt| self.learn(database, salt));
        for (copy, landed) in self.l1.iter_mut().zip(landed[0]) {
            *copy = copy.filter(|_| !landed || !world.has(Remedy::LandedSinceDropped));
        }
        self.batch = if new == Salts::default() { batch } else { new };
        self.landed[0] = landed[1];
        self.view = Some(view);
    }
}
