//! What a replica has learned, and the judgement of frames.

use crate::{Change, Frame, Protocol, Remedy, Script, Subject, Term, Version, Xid};

/// What is known of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Known {
    /// The highest version put or deleted.
    pub version: Version,
    /// The highest id of any change.
    pub change: Xid,
    /// The highest id of a requested invalidation.
    pub invalidation: Xid,
}

/// Complete from `start` to the last pass's snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Knowledge {
    /// The incarnation it is about; 0 is none.
    pub life: u8,
    /// What was committed below may be unknown.
    pub start: Xid,
    key: Known,
    terms: [Xid; 2],
    all: Xid,
}

impl Knowledge {
    /// Remembers a change. Late, doubled or out of order, the same is known in the end, because everything is a maximum.
    pub fn remember(&mut self, world: &Protocol, change: Change) {
        let keep = |known: &mut u8, new: u8| *known = if world.has(Remedy::Maxima) { new.max(*known) } else { new };
        match world.script(change.tx) {
            Script::InvalidateAll => keep(&mut self.all, change.xid),
            Script::InvalidateKey => {
                keep(&mut self.key.change, change.xid);
                keep(&mut self.key.invalidation, change.xid);
            }
            script => {
                keep(&mut self.key.version, change.version);
                keep(&mut self.key.change, change.xid);
                for term in logged_terms(world, script) {
                    keep(&mut self.terms[term as usize], change.xid);
                }
            }
        }
    }

    /// Whether a change is remembered.
    pub fn remembers(&self, world: &Protocol, change: Change) -> bool {
        match world.script(change.tx) {
            Script::InvalidateAll => self.all >= change.xid,
            _ => self.key.change >= change.xid,
        }
    }

    /// Everything of another incarnation is forgotten; what is remembered of this one stays.
    pub fn start_anew(&mut self, life: u8, start: Xid) {
        if self.life != life {
            *self = Self { life, ..Self::default() };
        }
        self.start = self.start.max(start);
    }

    /// Forgets every change, to bound what is remembered.
    pub fn forget(&mut self, world: &Protocol) {
        let highest = self.terms.into_iter().fold(self.key.change.max(self.all), Xid::max);
        let above = if world.has(Remedy::ForgettingRaisesStart) { highest + 1 } else { self.start };
        *self = Self { life: self.life, start: self.start.max(above), ..Self::default() };
    }

    /// Whether a frame may be used: nothing that touches it was learned since it was read, and everything was learned that
    /// could have been.
    pub fn accepts(&self, world: &Protocol, frame: Frame) -> bool {
        let Frame { content, horizon } = frame;
        let Known { version, change, invalidation } = self.key;
        let unless = |remedy, test: bool| !world.has(remedy) || test;
        let stands = match (content.subject, content.version) {
            (Subject::Item, Some(read)) => {
                let newest = unless(Remedy::ItemByVersion, version <= read)
                    && unless(Remedy::FrameAboveInvalidation, invalidation < horizon);
                newest || change < horizon
            }
            (Subject::Item, None) => unless(Remedy::AbsenceByHorizon, change < horizon),
            (Subject::List(term), _) => unless(Remedy::ListByHorizon, self.terms[term as usize] < horizon),
        };
        unless(Remedy::FrameOfOurLife, self.life == 0 || content.life == self.life)
            && unless(Remedy::FrameAboveStart, horizon >= self.start)
            && unless(Remedy::FrameAboveRules, self.all < horizon)
            && stands
    }
}

/// The terms that the trigger writes into the change.
pub(crate) fn logged_terms(world: &Protocol, script: Script) -> impl Iterator<Item = Term> {
    let (old, new) = match script {
        Script::Update => (Some(Term::A), Some(Term::A)),
        Script::Move => (Some(Term::A), Some(Term::B)),
        Script::Delete => (Some(Term::A), None),
        Script::Insert => (None, Some(Term::A)),
        Script::InvalidateKey | Script::InvalidateAll | Script::Other => (None, None),
    };
    let old = old.filter(|_| new.is_none() || world.has(Remedy::OldTerms));
    old.into_iter().chain(new.filter(move |_| old != new))
}
