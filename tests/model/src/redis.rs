//! Redis as an adversary.

use crate::{Content, Database, Protocol, Remedy, Subject, Xid};

/// A copy in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// What it says.
    pub content: Content,
    /// Every transaction below was finished, and seen, when it was read.
    pub horizon: Xid,
}

/// Every frame it was ever given. It may return any of them to anybody, at any time, or nothing.
///
/// Some replica may load at any moment; so each state of the database, as soon as it is there, is a frame. That is the most
/// that Redis can have, and spares the model from filling it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Redis {
    frames: Vec<Frame>,
}

impl Redis {
    /// The frames.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Somebody loads everything now, and sets it.
    pub fn fill(&mut self, world: &Protocol, database: &Database) {
        for &subject in &world.scenario.subjects {
            let content = database.read(world, subject);
            self.set(world, Frame { content, horizon: horizon(world, database) });
        }
    }

    /// The writer of the last commit sets what it wrote, with the horizon of the statement that did.
    pub fn write_through(&mut self, world: &Protocol, database: &Database, statement: Xid) {
        let content = database.read(world, Subject::Item);
        if content.version.is_some() {
            self.set(world, Frame { content, horizon: statement });
        }
    }

    /// The writer of the commit before the last, slow as it is, does so only now: with the horizon of now, where none was
    /// kept.
    pub fn write_through_late(&mut self, world: &Protocol, database: &Database, written: Content) {
        if written.stamp > 0 && written.version.is_some() && !world.has(Remedy::OwnHorizonOfStatement) {
            self.set(world, Frame { content: written, horizon: horizon(world, database) });
        }
    }

    fn set(&mut self, world: &Protocol, frame: Frame) {
        if world.scenario.redis
            && let Err(place) = self.frames.binary_search(&frame)
        {
            self.frames.insert(place, frame);
        }
    }
}

fn horizon(world: &Protocol, database: &Database) -> Xid {
    let snapshot = database.snapshot();
    if world.has(Remedy::HorizonIsXmin) { snapshot.xmin } else { snapshot.xmax }
}
