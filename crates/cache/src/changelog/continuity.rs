//! Which copies outlive a restart of the database server.
//!
//! A server that starts anew may have been stopped for a moment, or for a cold copy of its files to be put back, which may be older
//! than what this replica has seen. Both look alike but for the contents. The copies are right if the database still has everything
//! that the last pass saw. Files are copied cold only between two lives of the server, so the database has all of that if it has any
//! change of the latest life in which this replica has seen one; and every batch of changes contains a change of the latest life
//! that it or an earlier batch has seen. Hence the last batch, looked for change by change, is the proof.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use larder_change::{Lineage, Snapshot, Witness};

use crate::validity::{Change, Changes, LogBatch, View};

/// What passes have found so far, as far as copies that outlive a restart depend on it.
#[derive(Debug, Default)]
pub(crate) struct Continuity(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// The lineage of the last pass.
    lineage: Option<Lineage>,
    /// The number of the last pass.
    pass: u64,
    /// The changes of the last pass that found any, all of them. Empty if a pass since then may have missed changes.
    batch: Vec<Witness>,
}

/// A restart that copies outlive.
#[derive(Debug)]
pub(super) struct Restart {
    /// Copies that landed in L1 while this pass or a later one was the newest are dropped: they may have been read from what a
    /// cold copy has undone.
    pub(super) landed_since: u64,
    /// What the last pass saw.
    seen: Snapshot,
    /// The highest id of the last batch. The server had assigned this id before it stopped.
    top: u64,
}

impl Restart {
    /// Whether the last pass did not see a change. A higher id than the last batch's may have been assigned twice: the snapshot
    /// of the last pass does not tell whether the change is the one that it saw.
    pub(super) fn is_new(&self, change: &Change) -> bool {
        change.id > self.top || !self.seen.sees(change.id)
    }
}

impl Continuity {
    /// Whether the copies outlive what lies between the last pass and this one, which saw another incarnation.
    pub(super) fn restart(&self, last: &View, batch: &LogBatch) -> Option<Restart> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Changes::Window { from, changes } = &batch.changes else { return None };
        let same_lineage = batch.lineage.is_some() && batch.lineage == found.lineage;
        let lowest = found.batch.iter().map(|change| change.id).min()?;
        let top = found.batch.iter().map(|change| change.id).max()?;
        // Nothing that the last pass did not see lies below the window.
        if !same_lineage || *from > lowest.min(last.snapshot.xmin) {
            return None;
        }
        let there: HashSet<(u64, u64)> = changes.iter().map(|change| (change.id, change.salt)).collect();
        let whole = found.batch.iter().all(|change| there.contains(&(change.id, change.salt)));
        whole.then(|| Restart { landed_since: found.pass, seen: last.snapshot.clone(), top })
    }

    /// Records a pass that found all changes since the one before.
    pub(super) fn note<'a>(
        &self,
        pass: u64,
        lineage: Option<Lineage>,
        changes: impl ExactSizeIterator<Item = &'a Change>,
    ) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.lineage = lineage;
        found.pass = pass;
        if changes.len() > 0 {
            found.batch = changes.map(|change| Witness { id: change.id, salt: change.salt }).collect();
        }
    }

    /// Records a pass that may have missed changes.
    pub(super) fn note_gap(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found::default();
    }
}
