//! The follower: note t0, ask what is new, learn it, publish.

use crate::{Change, Database, Proof, Protocol, Remedy, Replica, View, Xid, learn::Learning};

/// A pass under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pass {
    /// It has noted t0.
    Begun(Proof),
    /// It has asked, and learns what came.
    Asked(Answer),
}

/// What the query returned, as far as it is not learned yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    proof: Proof,
    view: View,
    anew: Option<Anew>,
    learning: Option<Learning>,
    changes: Vec<Change>,
}

/// The pass does not continue the one before: knowledge starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Anew {
    /// It begins at `start`, in this life.
    Start { life: u8, start: Xid },
    /// Everything is to be aged.
    Age,
}

impl Pass {
    /// Notes t0.
    pub fn begin(database: &Database) -> Self {
        Self::Begun(Proof::now(database))
    }

    /// Makes the next step at `replica`: the query, a step of learning, or the end. Returns what is left to do.
    pub fn step(self, world: &Protocol, database: &Database, replica: &mut Replica) -> Option<Self> {
        match self {
            Self::Begun(proof) => {
                let answer = ask(world, database, replica, proof);
                if !world.has(Remedy::LearnBeforePublish) {
                    answer.publish(world, database, replica);
                }
                Some(Self::Asked(answer))
            }
            Self::Asked(answer) => answer.step(world, database, replica).map(Self::Asked),
        }
    }
}

impl Answer {
    fn step(mut self, world: &Protocol, database: &Database, replica: &mut Replica) -> Option<Self> {
        match (self.anew, self.learning) {
            (Some(Anew::Start { life, start }), _) => {
                if replica.knowledge.life != life {
                    replica.view = None;
                }
                replica.knowledge.start_anew(life, start);
                self.anew = Some(Anew::Age);
            }
            (Some(Anew::Age), _) => {
                replica.age_all();
                self.anew = None;
            }
            (None, Some(learning)) => {
                self.learning = learning.step(world, replica);
                if self.learning.is_none() && !self.changes.is_empty() {
                    self.learning = Some(Learning::new(self.changes.remove(0)));
                }
            }
            (None, None) => {
                if world.has(Remedy::LearnBeforePublish) {
                    self.publish(world, database, replica);
                }
                return None;
            }
        }
        Some(self)
    }

    fn publish(&self, world: &Protocol, database: &Database, replica: &mut Replica) {
        let t0 = if world.has(Remedy::TimeBeforeQuery) { self.proof } else { Proof::now(database) };
        replica.view = Some(self.view);
        replica.proof = Some(Proof { began: t0.began, ..self.proof });
    }
}

/// One statement: the snapshot, W, and every change that is visible now and was not to the last pass.
fn ask(world: &Protocol, database: &Database, replica: &mut Replica, proof: Proof) -> Answer {
    let snapshot = database.snapshot();
    let highest = database.commits.iter().map(|change| change.xid).max().unwrap_or(0);
    let cursor = if world.has(Remedy::SnapshotNotCursor) { 0 } else { highest };
    let life = database.life;
    if !world.has(Remedy::FollowerNoticesLife) && replica.view.is_some() {
        replica.knowledge.life = life;
    }
    let last = replica.view.filter(|_| replica.knowledge.life == life);
    let (anew, changes) = match last {
        Some(last) if database.pruned > last.snapshot.xmin && world.has(Remedy::SleeperStartsAnew) => {
            (Some(Anew::Start { life, start: snapshot.xmax }), Vec::new())
        }
        Some(last) => {
            let mut changes = unseen(world, database, last);
            let flood = changes.len() > world.scenario.limit;
            let anew = flood && world.has(Remedy::FloodStartsAnew);
            changes.truncate(if anew { 0 } else { world.scenario.limit });
            (anew.then_some(Anew::Start { life, start: snapshot.xmax }), changes)
        }
        None if replica.view.is_some() => (Some(Anew::Start { life, start: snapshot.xmax }), Vec::new()),
        None => (first(world, database, replica), database.log().copied().collect()),
    };
    let mut changes = if world.has(Remedy::Follower) { changes } else { Vec::new() };
    let learning = (!changes.is_empty()).then(|| Learning::new(changes.remove(0)));
    let began = if proof.life == life { proof.began } else { proof.began.min(usize::from(database.kept)) };
    let proof = Proof { life, began, seen: database.commits.len() };
    Answer { proof, view: View { snapshot, cursor }, anew, learning, changes }
}

/// The first pass reads back what there is, never below W.
fn first(world: &Protocol, database: &Database, replica: &mut Replica) -> Option<Anew> {
    let start = if world.has(Remedy::StartAtPruned) { database.pruned } else { 0 };
    if world.has(Remedy::FirstPassAges) {
        return Some(Anew::Start { life: database.life, start });
    }
    replica.knowledge.start_anew(database.life, start);
    None
}

fn unseen(world: &Protocol, database: &Database, last: View) -> Vec<Change> {
    let cursor = !world.has(Remedy::SnapshotNotCursor);
    let new = |change: &&Change| if cursor { change.xid > last.cursor } else { !last.snapshot.sees(change.xid) };
    database.log().filter(new).copied().collect()
}
