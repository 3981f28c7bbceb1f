//! Sending: a commit of this replica is applied here, and then stored in L2 and published to the other replicas.

use std::sync::Arc;

use larder_change::{Incarnation, Witness};

use super::codec;
use crate::{
    change::Change,
    config::WritePolicy,
    l1::{L1, Value},
    l2::L2,
    read::ReadPath,
    stats::{Counters, Source},
    validity::{Applier, Origin, Validity},
    wall_clock::now_micros,
};

/// What a write committed.
#[derive(Debug)]
pub struct Commit<V> {
    /// The incarnation of the database that was written to.
    pub incarnation: Incarnation,
    /// The statement that read back the result saw every change below this id, and the transactions of those changes had ended.
    pub horizon: u64,
    /// The newest change of the commit, where one change implies every earlier one.
    pub witness: Option<Witness>,
    /// The changes of the commit.
    pub changes: Vec<Change>,
    /// The new values of items, by key. Deleted items and items that nobody read back are omitted.
    pub items: Vec<(Box<str>, V)>,
}

/// Publishes the commits of this replica.
pub(crate) struct Publisher<V> {
    pub(crate) reads: Arc<ReadPath<V>>,
    pub(crate) validity: Arc<Validity>,
    pub(crate) applier: Arc<Applier<L1<V>>>,
    /// L2 and what a write does to its copies; `None` where there is no Redis.
    pub(crate) shared: Option<(Arc<L2>, WritePolicy)>,
    pub(crate) counters: Arc<Counters>,
}

impl<V: Value> Publisher<V> {
    /// Applies a commit and publishes it. Waits for Redis no longer than a command may take; the other replicas find in the change
    /// log what Redis misses.
    pub(crate) async fn publish(&self, commit: Commit<V>) {
        let Commit { incarnation, horizon, witness, changes, items } = commit;
        for change in &changes {
            self.applier.apply(Source::Own, change, incarnation);
        }
        let Some((l2, policy)) = &self.shared else { return };
        if changes.is_empty() || !l2.is_up() {
            return;
        }
        let origin = Origin { incarnation, horizon, version: 0, witness };
        let fills = items.into_iter().map(|(name, value)| self.reads.fill_item(name, &value, origin));
        let messages = codec::encode(incarnation, l2.replica, now_micros(), &changes);
        let now = match policy {
            // While the log is incomplete, no stored copy could be vouched for.
            _ if self.validity.incomplete().is_some() => Vec::new(),
            WritePolicy::Through => fills.collect(),
            WritePolicy::Invalidate => Vec::new(),
            WritePolicy::Behind => {
                fills.for_each(|fill| l2.enqueue(incarnation, fill));
                Vec::new()
            }
        };
        self.counters.l2_sets.add(now.len() as u64);
        let _ = l2.publish(incarnation, &now, &messages).await;
    }
}
