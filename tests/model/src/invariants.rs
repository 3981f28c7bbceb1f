//! What a read may return: the judge, who sees everything.

use std::ops::BitOr;

use crate::{Change, Content, Database, Floors, Protocol};

/// A promise of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Invariant {
    /// Invariant 2: a replica that has learned of a change neither serves to a read that begins later, nor stores in L1, what
    /// was read before that change.
    NoStaleFill,
    /// Invariant 3: a read returns at least what was committed when the pass began by which its copy counts as fresh.
    BoundedStaleness,
    /// Invariant 5: a read returns at least what the last pass's snapshot saw when it began. So it does for a token of any
    /// commit that the snapshot sees; for others a reader waits for such a pass.
    ReadYourWrites,
    /// Invariant 4: whoever goes on from a watch position is told every change since, and has seen nothing that was lost.
    NothingSkipped,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NoStaleFill, Self::BoundedStaleness, Self::ReadYourWrites, Self::NothingSkipped];

    /// The name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoStaleFill => "no stale fill",
            Self::BoundedStaleness => "bounded staleness",
            Self::ReadYourWrites => "read your writes",
            Self::NothingSkipped => "nothing skipped",
        }
    }
}

/// Some invariants: those that were broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Invariants(u8);

impl Invariants {
    /// None was.
    pub const NONE: Self = Self(0);

    /// Whether one is among them.
    pub fn contain(self, invariant: Invariant) -> bool {
        self.0 & (1 << invariant as u8) != 0
    }
}

impl From<Invariant> for Invariants {
    fn from(invariant: Invariant) -> Self {
        Self(1 << invariant as u8)
    }
}

impl BitOr for Invariants {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a pass proves: that everything committed when it began, and everything it saw, is learned. Commits are counted in
/// the order in which they were made, which nobody but the judge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proof {
    /// The incarnation it saw.
    pub life: u8,
    /// The commits at its t0.
    pub began: usize,
    /// The commits in its snapshot.
    pub seen: usize,
}

impl Proof {
    /// What is committed now.
    pub fn now(database: &Database) -> Self {
        let commits = database.commits.len();
        Self { life: database.life, began: commits, seen: commits }
    }
}

/// Which invariants it breaks to return `content` to a read with these floors.
pub(crate) fn judge(world: &Protocol, database: &Database, content: Content, floors: Floors) -> Invariants {
    let fresh = |life: u8, due: &dyn Fn(usize, &Change) -> bool| {
        (life..=database.life).any(|later| {
            // What a crash has taken away is due to nobody who reads the life after, nor is what only that life has.
            let shared = |place| later == life || place < usize::from(database.kept);
            stands(world, database, later, content, &|place, change| shared(place) && due(place, change))
        })
    };
    let unless = |kept, invariant: Invariant| if kept { Invariants::NONE } else { invariant.into() };
    let known = floors.proof.map_or(1, |proof| proof.life);
    let learned = fresh(known, &|_, change| floors.learned & (1 << change.tx) != 0);
    let broken = unless(learned, Invariant::NoStaleFill);
    let Some(proof) = floors.proof else { return broken };
    let bounded = fresh(proof.life, &|place, _| place < proof.began);
    let seen = fresh(proof.life, &|place, _| place < proof.seen);
    broken | unless(bounded, Invariant::BoundedStaleness) | unless(seen, Invariant::ReadYourWrites)
}

/// Whether `content` was the state of some moment of this life, after every commit that was due.
fn stands(
    world: &Protocol,
    database: &Database,
    life: u8,
    content: Content,
    due: &dyn Fn(usize, &Change) -> bool,
) -> bool {
    let mut read = content.stamp == 0;
    for (place, change) in database.history(life).enumerate() {
        if change.tx + 1 == content.stamp {
            read = true;
        } else if read && world.script(change.tx).touches(content.subject) && due(place, change) {
            return false;
        }
    }
    read
}
