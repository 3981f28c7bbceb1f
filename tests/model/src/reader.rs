//! A read: what was proven, what is captured, L1, L2 or the database, and the fill.

use crate::{
    Captured, Content, Database, Entry, Frame, Invariants, Proof, Protocol, Remedy, Replica, Subject, invariants::judge,
};

/// What a read must return at least. A reader really takes the proof; what was learned is for the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Floors {
    /// The changes that were learned to the end before it began, one bit each.
    pub learned: u8,
    /// The last pass published before it began.
    pub proof: Option<Proof>,
}

/// A read under way, and everybody who has joined it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reader {
    /// What it reads.
    pub subject: Subject,
    /// What it captured before it looked at anything.
    pub captured: Captured,
    /// What it must return: taken when it began, or when the last one joined.
    pub floors: Floors,
    /// What it has in hand.
    pub found: Option<Found>,
}

/// Where a copy in hand comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// L1; with a proof that is still to be read, where it is read last.
    L1(Content),
    /// L2: judged, and found good.
    L2(Content),
    /// The database.
    Loaded(Content),
}

impl Replica {
    /// A reader takes the proof, then captures what is known of its subject.
    pub fn begin_read(&mut self, world: &Protocol, database: &Database, subject: Subject) {
        let mut floors = self.floors();
        if !world.has(Remedy::NoFrameBeforePass) {
            // Who takes copies without a proof is judged by the moment of the read.
            floors.proof = floors.proof.or_else(|| Some(Proof::now(database)));
        }
        self.reader = Some(Reader { subject, captured: Captured::default(), floors, found: None });
    }

    /// Whether somebody may join the read under way: what they capture must be what it captured.
    pub fn may_join(&self, world: &Protocol) -> bool {
        let same = |reader: &Reader| reader.captured.stands() || !world.has(Remedy::CaptureInFlightKey);
        self.reader.as_ref().is_some_and(|reader| reader.floors != self.floors() && same(reader))
    }

    /// Somebody joins, who will take no less than if they had begun themselves.
    pub fn join(&mut self) {
        let floors = self.floors();
        if let Some(reader) = &mut self.reader {
            reader.floors = floors;
        }
    }

    /// The reader looks into L1, and serves what may be served.
    pub fn serve_hit(&mut self, world: &Protocol, database: &Database) -> Invariants {
        let Some(reader) = self.reader.take() else { return Invariants::NONE };
        let Some(Entry { content, age, .. }) = self.hit(world, reader.subject) else { return Invariants::NONE };
        if world.has(Remedy::ProofReadFirst) {
            let by_age = age.map_or(Invariants::NONE, |age| {
                judge(world, database, content, Floors { proof: Some(age), ..reader.floors })
            });
            by_age | judge(world, database, content, reader.floors)
        } else {
            self.reader = Some(Reader { found: Some(Found::L1(content)), ..reader });
            Invariants::NONE
        }
    }

    /// Whether a frame that has come from L2 may be used by the reader.
    pub fn accepts(&self, world: &Protocol, reader: &Reader, frame: Frame) -> bool {
        let passed = self.view.is_some() || !world.has(Remedy::NoFrameBeforePass);
        let proven = reader.floors.proof.is_some();
        frame.content.subject == reader.subject && passed && proven && self.knowledge.accepts(world, frame)
    }

    /// The reader's query runs: rows and snapshot in one statement.
    pub fn load(&mut self, world: &Protocol, database: &Database) {
        if let Some(subject) = self.reader.as_ref().map(|reader| reader.subject) {
            self.find(Found::Loaded(database.read(world, subject)));
        }
    }

    /// The reader has something in hand.
    pub fn find(&mut self, found: Found) {
        if let Some(reader) = &mut self.reader {
            reader.found = Some(found);
        }
    }

    /// A writer that kept what it wrote at hand stores it, whatever was learned meanwhile. The protocol has no such step.
    pub fn store_own(&mut self, world: &Protocol, database: &Database, commit: usize) -> Invariants {
        let content = database.written(commit);
        let stored = self.store(world, Entry { content, captured: Captured::default(), age: None });
        if stored { judge(world, database, content, self.floors()) } else { Invariants::NONE }
    }

    /// The reader stores what it has, if it still stands, and serves it to everybody who waits.
    pub fn land(&mut self, world: &Protocol, database: &Database) -> Invariants {
        let Some(Reader { captured, floors, found: Some(found), .. }) = self.reader.take() else {
            return Invariants::NONE;
        };
        let (content, age) = match found {
            Found::L1(content) => {
                return judge(world, database, content, Floors { proof: self.proof, ..floors });
            }
            Found::L2(content) if world.has(Remedy::OnlyLoadsHaveAge) => (content, None),
            Found::L2(content) => (content, Some(Proof::now(database))),
            Found::Loaded(content) => (content, None),
        };
        let stored = self.store(world, Entry { content, captured: captured.as_captured(world), age });
        let kept = if stored { judge(world, database, content, self.floors()) } else { Invariants::NONE };
        // What another incarnation returned is served marked stale.
        let marked = self.view.is_some() && content.life != self.knowledge.life && matches!(found, Found::Loaded(_));
        if marked { kept } else { kept | judge(world, database, content, floors) }
    }
}
