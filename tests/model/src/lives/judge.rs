//! What must never be: a copy, a token or a watch position that is taken and should not be.

use super::{
    Protocol, World,
    database::{Incarnation, Snapshot},
    replica::View,
    scenario::Kind,
    sets::{Salt, Salts},
};
use crate::{Invariant, Invariants, Remedy};

/// A watch position: how far a reader of changes has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Of which life.
    pub of: Incarnation,
    /// What it has seen.
    pub snapshot: Snapshot,
    /// The newest change among that.
    pub newest: Option<Salt>,
    /// All of it.
    pub seen: Salts,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Copies that might be served.
    pub copies: u64,
    /// Tokens and positions that would be taken.
    pub tokens: u64,
}

/// Everything that a reader could be told now is right.
pub fn judge(world: &Protocol, now: &World) -> (Invariants, Judged) {
    let mut broken = Invariants::NONE;
    let mut judged = Judged::default();
    for replica in &now.replicas {
        let Some(view) = &replica.view else { continue };
        let hits = (0..world.scenario.keys).filter_map(|key| replica.hit(key).map(|stamp| (key, stamp)));
        let frames = now.frames.iter().filter(|frame| replica.accepts(world, frame));
        for (key, stamp) in hits.chain(frames.map(|frame| (frame.key, frame.stamp))) {
            judged.copies += 1;
            if !view.since.had(key, stamp) {
                broken = broken | Invariant::BoundedStaleness.into();
            }
        }
        for salt in (1..=now.database.commits.len()).filter_map(|salt| Salt::try_from(salt).ok()) {
            if holds(world, now, view, salt) {
                judged.tokens += 1;
                if !view.seen.has(salt) {
                    broken = broken | Invariant::ReadYourWrites.into();
                }
            }
        }
        for position in now.positions.iter().filter(|position| resumes(world, view, position)) {
            judged.tokens += 1;
            let told = |salt: &Salt| !position.snapshot.sees(now.database.commit(*salt).id);
            let told: Salts = view.kept.iter().filter(told).collect();
            if !view.seen.within(told.and(position.seen)) || !position.seen.within(view.seen) {
                broken = broken | Invariant::NothingSkipped.into();
            }
        }
    }
    (broken, judged)
}

/// Whether the token of a commit is taken by a reader of this view without another pass.
fn holds(world: &Protocol, now: &World, view: &View, salt: Salt) -> bool {
    let commit = now.database.commit(salt);
    let by_salt = match world.scenario.kind {
        Kind::Sqlite => world.has(Remedy::TokenBySalt),
        Kind::Postgres => commit.of != view.of && world.has(Remedy::TokenOfOtherLifeBySalt),
    };
    if !commit.logged {
        return false;
    }
    if !by_salt {
        return view.snapshot.sees(commit.id);
    }
    let pruned = commit.id < view.pruned && !world.has(Remedy::PrunedTokenIsRefused);
    view.kept.has(salt) || pruned
}

/// Whether a watch may go on from a position: whoever is further than this view waits for another pass.
fn resumes(world: &Protocol, view: &View, position: &Position) -> bool {
    let known = match world.scenario.kind {
        Kind::Postgres => true,
        Kind::Sqlite => {
            position.newest.is_none_or(|newest| view.kept.has(newest)) || !world.has(Remedy::PositionBySalt)
        }
    };
    let ours = position.of == view.of || !world.has(Remedy::PositionOfOurLife);
    ours && known && view.snapshot.covers(position.snapshot) && view.pruned <= position.snapshot.xmin
}
