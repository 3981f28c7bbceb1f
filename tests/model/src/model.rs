//! Everything that may happen, one step at a time.

use stateright::{Model, Property};

use crate::{
    Database, Entry, Fault, Invariant, Invariants, Learning, Pass, Phase, Redis, Remedies, Remedy, Replica, Scenario,
    Script, Subject, Tx, bus, reader::Found,
};

/// The protocol, with these remedies, in this scenario.
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

    pub(crate) fn script(&self, tx: Tx) -> Script {
        self.scenario.scripts[usize::from(tx)]
    }

    pub(crate) fn place(&self, subject: Subject) -> usize {
        self.scenario.subjects.iter().position(|&other| other == subject).unwrap_or_default()
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.scenario.faults.contains(&fault)
    }

    fn transactions(&self) -> impl Iterator<Item = Tx> {
        (0..).take(self.scenario.scripts.len())
    }
}

/// All there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The origin.
    pub database: Database,
    /// L2.
    pub redis: Redis,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The invariants that the last step broke.
    pub broken: Invariants,
}

/// What a check must come across, lest it hold because nothing is ever cached: after a change was learned, L1 has a copy of
/// a later state that stands.
pub const L1_IS_USED: &str = "L1 is used";

/// After a change was learned, a frame of a later state is taken from L2.
pub const L2_IS_USED: &str = "L2 is used";

/// A step. The first number is the replica's, or the transaction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A transaction begins.
    Begin(Tx),
    /// An insert draws its version.
    Draw(Tx),
    /// A transaction writes.
    Write(Tx),
    /// A transaction commits.
    Commit(Tx),
    /// A transaction rolls back.
    Abort(Tx),
    /// The change log is pruned.
    Prune,
    /// The database crashes, and loses so many commits.
    Lose(usize),
    /// A reader begins, and captures.
    Read(usize, Subject),
    /// Another reader joins.
    Join(usize),
    /// The reader looks into L1.
    Hit(usize),
    /// The reader's query runs.
    Load(usize),
    /// Redis returns the frame with this number, and the reader accepts it.
    Frame(usize, usize),
    /// The reader stores and serves what it has.
    Land(usize),
    /// The bus brings this message.
    Deliver(usize, usize),
    /// The next step of learning the message.
    Learn(usize),
    /// A pass begins.
    Pass(usize),
    /// The next step of the pass.
    Follow(usize),
    /// The pass fails.
    Fail(usize),
    /// The replica restarts.
    Restart(usize),
    /// The replica forgets what it has learned.
    Forget(usize),
    /// The replica that made this commit stores what it wrote in L1, where that is done.
    StoreOwn(usize, usize),
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let database = Database::new(self);
        let mut redis = Redis::default();
        redis.fill(self, &database);
        let replicas = vec![Replica::new(self); self.scenario.replicas];
        vec![World { database, redis, replicas, broken: Invariants::NONE }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.database_steps(&world.database, steps);
        for (number, replica) in world.replicas.iter().enumerate() {
            self.read_steps(world, replica, number, steps);
            self.learn_steps(world, replica, number, steps);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        world.broken = self.apply(&mut world, step);
        if matches!(step, Step::Begin(_) | Step::Commit(_) | Step::Abort(_) | Step::Lose(_)) {
            world.redis.fill(self, &world.database);
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Invariant::NoStaleFill.name(), |_, world| keeps(world, Invariant::NoStaleFill)),
            Property::always(Invariant::BoundedStaleness.name(), |_, world| keeps(world, Invariant::BoundedStaleness)),
            Property::always(Invariant::ReadYourWrites.name(), |_, world| keeps(world, Invariant::ReadYourWrites)),
            Property::sometimes(L1_IS_USED, |_, world: &World| world.replicas.iter().any(keeps_a_newer_copy)),
            Property::sometimes(L2_IS_USED, |_, world: &World| world.replicas.iter().any(takes_a_newer_frame)),
        ]
    }
}

fn keeps_a_newer_copy(replica: &Replica) -> bool {
    let newer = |entry: &Entry| entry.captured.stands() && entry.content.stamp > 0;
    replica.learned != 0 && replica.l1.iter().flatten().any(newer)
}

fn takes_a_newer_frame(replica: &Replica) -> bool {
    let found = replica.reader.as_ref().and_then(|reader| reader.found);
    replica.learned != 0 && matches!(found, Some(Found::L2(content)) if content.stamp > 0)
}

fn keeps(world: &World, invariant: Invariant) -> bool {
    !world.broken.contain(invariant)
}

impl Protocol {
    fn database_steps(&self, database: &Database, steps: &mut Vec<Step>) {
        for tx in self.transactions() {
            let script = self.script(tx);
            match database.phase(tx) {
                Phase::Idle if database.may_begin(self, tx) => steps.push(Step::Begin(tx)),
                Phase::Begun(_) if script == Script::Insert => steps.push(Step::Draw(tx)),
                Phase::Begun(_) | Phase::Drawn(_) if database.may_write(script) => steps.push(Step::Write(tx)),
                Phase::Written(_) => steps.push(Step::Commit(tx)),
                Phase::Idle | Phase::Begun(_) | Phase::Drawn(_) | Phase::Over => {}
            }
            let ends = matches!(database.phase(tx), Phase::Begun(_) | Phase::Written(_));
            if ends && (self.strikes(Fault::Abort) || script == Script::Other) {
                steps.push(Step::Abort(tx));
            }
        }
        if self.strikes(Fault::Prune) && database.snapshot().xmin > database.pruned {
            steps.push(Step::Prune);
        }
        if self.strikes(Fault::Lose) && database.life == 1 {
            steps.extend((1..=database.commits.len()).map(Step::Lose));
        }
    }

    fn read_steps(&self, world: &World, replica: &Replica, number: usize, steps: &mut Vec<Step>) {
        let Some(reader) = &replica.reader else {
            steps.extend(self.scenario.subjects.iter().map(|&subject| Step::Read(number, subject)));
            return;
        };
        if replica.may_join(self) {
            steps.push(Step::Join(number));
        }
        if reader.found.is_some() {
            steps.push(Step::Land(number));
            return;
        }
        steps.push(Step::Load(number));
        if reader.floors.proof.is_some() && replica.hit(self, reader.subject).is_some() {
            steps.push(Step::Hit(number));
        }
        let frames = world.redis.frames().iter().enumerate();
        let accepted = frames.filter(|&(_, &frame)| replica.accepts(self, reader, frame));
        steps.extend(accepted.map(|(frame, _)| Step::Frame(number, frame)));
    }

    fn learn_steps(&self, world: &World, replica: &Replica, number: usize, steps: &mut Vec<Step>) {
        if replica.message.is_some() {
            steps.push(Step::Learn(number));
        } else if self.scenario.bus {
            let messages = bus::messages(self, &world.database, replica.knowledge.life).count();
            steps.extend((0..messages).map(|message| Step::Deliver(number, message)));
        }
        if replica.pass.is_some() {
            steps.extend([Step::Follow(number), Step::Fail(number)]);
        } else {
            steps.push(Step::Pass(number));
        }
        if self.strikes(Fault::Restart) && replica.view.is_some() {
            steps.push(Step::Restart(number));
        }
        if self.strikes(Fault::Forget) {
            steps.push(Step::Forget(number));
        }
        if !self.has(Remedy::OwnWriteNotStored) {
            steps.extend((0..world.database.commits.len()).map(|commit| Step::StoreOwn(number, commit)));
        }
    }

    fn apply(&self, world: &mut World, step: Step) -> Invariants {
        let World { database, redis, replicas, .. } = world;
        match step {
            Step::Begin(tx) => database.begin(tx),
            Step::Draw(tx) => database.draw(tx),
            Step::Write(tx) => database.write(self, tx),
            Step::Commit(tx) => {
                let before = database.read(self, Subject::Item);
                if let Some(written) = database.commit(self, tx) {
                    redis.write_through(self, database, written.horizon);
                }
                redis.write_through_late(self, database, before);
            }
            Step::Abort(tx) => database.abort(tx),
            Step::Prune => database.prune(),
            Step::Lose(lost) => database.lose(self, lost),
            Step::Read(replica, subject) => replicas[replica].begin_read(self, database, subject),
            Step::Join(replica) => replicas[replica].join(),
            Step::Hit(replica) => return replicas[replica].serve_hit(self, database),
            Step::Load(replica) => replicas[replica].load(self, database),
            Step::Frame(replica, frame) => {
                replicas[replica].find(Found::L2(redis.frames()[frame].content));
            }
            Step::Land(replica) => return replicas[replica].land(self, database),
            Step::Deliver(replica, message) => {
                let replica = &mut replicas[replica];
                let change = bus::messages(self, database, replica.knowledge.life).nth(message);
                replica.message = change.map(Learning::new);
            }
            Step::Learn(replica) => {
                let replica = &mut replicas[replica];
                let learning = replica.message.take();
                replica.message = learning.and_then(|learning| learning.step(self, replica));
            }
            Step::Pass(replica) => replicas[replica].pass = Some(Pass::begin(database)),
            Step::Follow(replica) => {
                let replica = &mut replicas[replica];
                let pass = replica.pass.take();
                replica.pass = pass.and_then(|pass| pass.step(self, database, replica));
            }
            Step::Fail(replica) => replicas[replica].pass = None,
            Step::Restart(replica) => replicas[replica] = Replica::new(self),
            Step::Forget(replica) => replicas[replica].knowledge.forget(self),
            Step::StoreOwn(replica, commit) => {
                return replicas[replica].store_own(self, database, commit);
            }
        }
        Invariants::NONE
    }
}
