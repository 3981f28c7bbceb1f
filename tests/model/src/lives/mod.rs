//! The lives of a database: its history forks at any commit, and ids are used again.
//!
//! Where the rest of this crate looks into the steps of one read and of one change, here each of these is one step, and what
//! is looked into is which life of the database a replica, a frame, a token and a watch position are of. A state that
//! was once committed may be put back at any moment, between the steps of a load, of a pass, and between any two of them.
//!
//! - **Redis holds every frame** that anybody could have read in any life, and returns any of them.
//! - **Tokens of every commit, and watch positions of every moment, of all lives come back** at any time.
//! - **A copy is right** if the row had this state at any moment since the pass began by which the copy counts as fresh:
//!   what was put back counts as a change like any other.
//!
//! `tests/lives.rs` searches small scenarios to the end, and walks through large ones at random.

mod database;
mod judge;
mod replica;
mod scenario;
mod sets;
mod walk;

use stateright::{Model, Property};

pub use self::{
    database::{Commit, Database, File, Id, Incarnation, Row, Snapshot},
    judge::{Judged, Position, judge},
    replica::{Frame, Known, Load, Pass, Replica, View, frame},
    scenario::{Fault, Kind, Scenario},
    sets::{Key, ROWS, Salt, Salts, Since},
    walk::{Walk, walk},
};
use crate::{Invariant, Invariants, Remedies, Remedy};

/// The highest id that a set of ids has room for.
const LAST_ID: Id = 60;

/// The protocol, with these remedies, over a database that has several lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// What may happen.
    pub scenario: Scenario,
    /// What is done about it.
    pub remedies: Remedies,
}

impl Protocol {
    pub(crate) fn has(&self, remedy: Remedy) -> bool {
        self.remedies.has(remedy)
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.scenario.faults.contains(&fault)
    }
}

/// All there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The origin.
    pub database: Database,
    /// L2, and every frame it was ever given.
    pub frames: Vec<Frame>,
    /// Every watch position that was ever told.
    pub positions: Vec<Position>,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The invariants that are broken.
    pub broken: Invariants,
    /// After a change of life, a copy was served from L1, or taken from L2.
    pub used: [bool; 2],
}

/// A step. The first number is the replica's, or that of a state that was once committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A transaction on a row begins.
    Begin(Key),
    /// A transaction commits.
    Commit(Id),
    /// The triggers are switched off, or on.
    Alter,
    /// They are switched off and on again in one transaction, which changes the row.
    Slip(Key),
    /// The log is pruned.
    Prune,
    /// A state is put back.
    PutBack(usize),
    /// A state is restored from a dump.
    Restore(usize),
    /// The server crashes, and comes back to a state.
    Crash(usize),
    /// The server stops and starts.
    Restart,
    /// Another file, in this state, comes under the path.
    Replace(usize),
    /// The replica stops and starts.
    Stop(usize),
    /// A load reads.
    Load(usize, Key),
    /// A load is answered by a standby, in this state.
    LoadStandby(usize, Key, usize),
    /// The load comes back.
    Land(usize),
    /// A frame is taken from L2.
    Take(usize, usize),
    /// A message brings the change with this salt, or it is an own write.
    Learn(usize, Salt),
    /// A pass asks.
    Ask(usize),
    /// The pass learns and publishes.
    Follow(usize),
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let database = Database::default();
        let replicas = vec![Replica::new(database.place); self.scenario.replicas];
        let mut world = World {
            database,
            frames: Vec::new(),
            positions: Vec::new(),
            replicas,
            broken: Invariants::NONE,
            used: [false; 2],
        };
        self.observe(&mut world);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.database_steps(&world.database, steps);
        self.strike_steps(&world.database, steps);
        for (number, replica) in world.replicas.iter().enumerate() {
            self.replica_steps(world, replica, number, steps);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        self.advance(&mut world, step);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let kept = |invariant: Invariant, holds| Property::always(invariant.name(), holds);
        vec![
            kept(Invariant::BoundedStaleness, |_, world: &World| !world.broken.contain(Invariant::BoundedStaleness)),
            kept(Invariant::ReadYourWrites, |_, world: &World| !world.broken.contain(Invariant::ReadYourWrites)),
            kept(Invariant::NothingSkipped, |_, world: &World| !world.broken.contain(Invariant::NothingSkipped)),
            Property::sometimes(crate::L1_IS_USED, |_, world: &World| world.used[0]),
            Property::sometimes(crate::L2_IS_USED, |_, world: &World| world.used[1]),
        ]
    }
}

impl Protocol {
    /// Makes a step, and judges what there is after it.
    pub fn advance(&self, world: &mut World, step: Step) -> Judged {
        let served_wrong = !self.apply(world, step);
        self.observe(world);
        let (broken, judged) = judge(self, world);
        world.broken = if served_wrong { broken | Invariant::BoundedStaleness.into() } else { broken };
        let struck = world.database.struck > 0 || self.scenario.strikes == 0;
        let forked = struck && !world.database.commits.is_empty();
        let hit = world.replicas.iter().any(|replica| replica.hit(0).is_some_and(|stamp| stamp > 0));
        world.used[0] |= forked && hit;
        world.used[1] |= forked && matches!(step, Step::Take(..));
        judged
    }

    fn database_steps(&self, database: &Database, steps: &mut Vec<Step>) {
        let room = database.commits.len() + database.open().count() < self.scenario.commits;
        let ids = database.snapshot(self, &database.file).xmax < LAST_ID;
        if room && ids {
            steps.extend((0..self.scenario.keys).filter(|&key| database.may_begin(self, key)).map(Step::Begin));
        }
        steps.extend(database.open().map(Step::Commit));
        if self.strikes(Fault::Prune) && database.file.pruned < database.snapshot(self, &database.file).xmin {
            steps.push(Step::Prune);
        }
    }

    fn strike_steps(&self, database: &Database, steps: &mut Vec<Step>) {
        if database.struck >= self.scenario.strikes || database.snapshot(self, &database.file).xmax >= LAST_ID {
            return;
        }
        let states = database.saved.len();
        let idle = database.open().count() == 0;
        if self.strikes(Fault::PutBack) {
            steps.extend((0..states).map(Step::PutBack));
        }
        if self.strikes(Fault::Restore) && idle {
            steps.extend((0..states).map(Step::Restore));
        }
        if self.strikes(Fault::Crash) {
            steps.extend((0..states).filter(|&state| database.led_from(&database.saved[state])).map(Step::Crash));
        }
        if self.strikes(Fault::Restart) {
            steps.push(Step::Restart);
        }
        if self.strikes(Fault::Replace) && database.place == 1 {
            steps.extend((0..states).map(Step::Replace));
        }
        // To alter triggers takes a lock that waits for all writers.
        if self.strikes(Fault::Alter) && idle {
            steps.push(Step::Alter);
            if database.file.whole && database.commits.len() < self.scenario.commits {
                steps.extend((0..self.scenario.keys).map(Step::Slip));
            }
        }
    }

    fn replica_steps(&self, world: &World, replica: &Replica, number: usize, steps: &mut Vec<Step>) {
        if self.strikes(Fault::Stop) && replica.view.is_some() {
            steps.push(Step::Stop(number));
        }
        if replica.load.is_some() {
            steps.push(Step::Land(number));
        } else {
            let keys = 0..self.scenario.keys;
            steps.extend(keys.clone().map(|key| Step::Load(number, key)));
            if self.strikes(Fault::Standby) {
                let states = 0..world.database.saved.len();
                steps.extend(
                    keys.flat_map(|key| states.clone().map(move |state| Step::LoadStandby(number, key, state))),
                );
            }
        }
        let frames = world.frames.iter().enumerate().filter(|(_, frame)| replica.accepts(self, frame));
        steps.extend(frames.map(|(frame, _)| Step::Take(number, frame)));
        if let Some(view) = replica.view.as_ref().filter(|_| self.scenario.bus) {
            let ours = (1..).zip(&world.database.commits).filter(|(_, commit)| commit.of == view.of);
            steps.extend(ours.map(|(salt, _)| Step::Learn(number, salt)));
        }
        steps.push(if replica.pass.is_some() { Step::Follow(number) } else { Step::Ask(number) });
    }

    /// Makes a step. Returns whether what it served was right.
    fn apply(&self, world: &mut World, step: Step) -> bool {
        let World { database, frames, replicas, .. } = world;
        match step {
            Step::Begin(key) => database.begin(key),
            Step::Commit(id) => database.end(self, id),
            Step::Alter => database.alter(),
            Step::Slip(key) => database.slip(self, key),
            Step::Prune => database.prune(self),
            Step::PutBack(state) => database.put_back(state),
            Step::Restore(state) => database.restore(state),
            Step::Crash(state) => database.crash(self, state),
            Step::Restart => database.restart(),
            Step::Replace(state) => database.replace(state),
            Step::Stop(replica) => replicas[replica] = Replica::new(database.place),
            Step::Load(replica, key) => replicas[replica].load(self, database, key, None),
            Step::LoadStandby(replica, key, state) => replicas[replica].load(self, database, key, Some(state)),
            Step::Land(replica) => return replicas[replica].land(self, database),
            Step::Take(replica, frame) => replicas[replica].take(&frames[frame]),
            Step::Learn(replica, salt) => replicas[replica].learn(database, salt),
            Step::Ask(replica) => replicas[replica].ask(self, database),
            Step::Follow(replica) => {
                if let Some(life) = replicas[replica].follow(self, database) {
                    database.rename_from(life);
                }
            }
        }
        true
    }

    /// Everybody else reads what is there now, sends it to L2, and is told a watch position; the judge takes note.
    fn observe(&self, world: &mut World) {
        let World { database, frames, positions, replicas, .. } = world;
        for key in 0..self.scenario.keys {
            insert(frames, frame(self, database, database.place, &database.file, key));
        }
        let file = &database.file;
        let position = Position {
            of: database.incarnation(self, database.place, file),
            snapshot: database.snapshot(self, file),
            newest: file.newest(),
            seen: file.log.iter().copied().collect(),
        };
        insert(positions, position);
        for replica in replicas {
            replica.observe(database);
        }
    }
}

fn insert<T: Ord>(sorted: &mut Vec<T>, new: T) {
    if let Err(place) = sorted.binary_search(&new) {
        sorted.insert(place, new);
    }
}
