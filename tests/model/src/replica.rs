//! A replica: its copies, and what goes on in it at once: one reader, one message of the bus, one pass of the follower.

use crate::{
    Content, Knowledge, Proof, Protocol, Remedy, Script, Snapshot, Subject,
    follower::Pass,
    knowledge::logged_terms,
    learn::Learning,
    reader::{Floors, Reader},
};

/// What was captured before a read looked at anything.
///
/// A generation is a number that grows; it is only ever asked whether it still is what it was. So the model keeps that
/// answer in place of the numbers, which makes its states finite: to age a stripe is to mark everything captured of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Captured {
    aged: bool,
    ruled: bool,
}

impl Captured {
    /// Whether nothing that touches it was learned since.
    pub fn stands(self) -> bool {
        !self.aged && !self.ruled
    }

    /// The same, but for what is captured only now, where a remedy is missing.
    #[must_use]
    pub fn as_captured(self, world: &Protocol) -> Self {
        if !world.has(Remedy::CaptureFirst) {
            Self::default()
        } else if !world.has(Remedy::RuleCounterCaptured) {
            Self { ruled: false, ..self }
        } else {
            self
        }
    }
}

/// A copy in L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it says.
    pub content: Content,
    /// What stood before it was read.
    pub captured: Captured,
    /// By which age of its own it counts as fresh besides the proof. `None` in what was loaded from the database, although
    /// that has one: it was read after its load began, so there is nothing to judge.
    pub age: Option<Proof>,
}

/// One process of the service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Replica {
    /// What it has learned.
    pub knowledge: Knowledge,
    /// The last pass's snapshot; none before the first pass, and while everything is being dropped.
    pub view: Option<View>,
    /// The last pass's t0, and what that means; none before the first pass.
    pub proof: Option<Proof>,
    /// The changes that were learned to the end, one bit each. Only the judge asks.
    pub learned: u8,
    /// The copies, in the order of the scenario's subjects.
    pub l1: Vec<Option<Entry>>,
    /// The message that is being learned.
    pub message: Option<Learning>,
    /// The pass that is under way.
    pub pass: Option<Pass>,
    /// The read that is under way.
    pub reader: Option<Reader>,
}

/// What the last pass saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// The highest id it saw: what a follower with a cursor would go by. 0 in one that has none.
    pub cursor: u8,
}

impl Replica {
    /// A process that has just started.
    pub fn new(world: &Protocol) -> Self {
        Self { l1: vec![None; world.scenario.subjects.len()], ..Self::default() }
    }

    /// What a read that begins now must return at least.
    pub fn floors(&self) -> Floors {
        Floors { learned: self.learned, proof: self.proof }
    }

    /// Ages the stripes of what a change touches, or counts the rule.
    pub fn age(&mut self, world: &Protocol, script: Script) {
        for (&subject, entry) in world.scenario.subjects.iter().zip(&mut self.l1) {
            if let Some(entry) = entry {
                mark(world, script, subject, &mut entry.captured);
            }
        }
        if let Some(reader) = &mut self.reader {
            mark(world, script, reader.subject, &mut reader.captured);
        }
    }

    /// Ages everything, and drops it.
    pub fn age_all(&mut self) {
        self.l1.fill(None);
        if let Some(reader) = &mut self.reader {
            reader.captured.ruled = true;
        }
    }

    /// Removes from L1 what a change names: its key, or everything. Lists are not named.
    pub fn remove(&mut self, world: &Protocol, script: Script) {
        for (&subject, entry) in world.scenario.subjects.iter().zip(&mut self.l1) {
            if script == Script::InvalidateAll || subject == Subject::Item {
                *entry = None;
            }
        }
    }

    /// Stores a copy. Under the key's lock, so that of two fills the one that knows more stays.
    pub fn store(&mut self, world: &Protocol, entry: Entry) -> bool {
        let ours = self.view.is_some() && entry.content.life == self.knowledge.life;
        let stored = ours && (entry.captured.stands() || !world.has(Remedy::GenerationWhenStored));
        if stored {
            self.l1[world.place(entry.content.subject)] = Some(entry);
        }
        stored
    }

    /// The copy that L1 may serve.
    pub fn hit(&self, world: &Protocol, subject: Subject) -> Option<Entry> {
        let entry = self.l1[world.place(subject)]?;
        let stands = entry.captured.stands() || !world.has(Remedy::GenerationWhenServed);
        (stands && self.proof.is_some()).then_some(entry)
    }
}

fn mark(world: &Protocol, script: Script, subject: Subject, captured: &mut Captured) {
    match (script, subject) {
        (Script::InvalidateAll, _) => captured.ruled = true,
        (_, Subject::Item) => captured.aged = true,
        (script, Subject::List(term)) => captured.aged |= logged_terms(world, script).any(|logged| logged == term),
    }
}
