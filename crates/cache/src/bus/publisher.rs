//! Sending: a commit of this replica is applied here, and then stored in L2 and published to the other replicas.

use std::sync::Arc;

use larder_change::{Incarnation, Witness};

use super::codec;
use crate::{
    config::WritePolicy,
    l2::{Fill, L2},
    stats::{Counters, Source},
    time::now_micros,
    validity::{Applier, Change, Copies, Origin, Validity},
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
pub(crate) struct Publisher<V, C> {
    pub(crate) validity: Arc<Validity>,
    pub(crate) applier: Arc<Applier<C>>,
    /// `None` where there is no Redis.
    pub(crate) shared: Option<SharedWrites<V>>,
    pub(crate) counters: Arc<Counters>,
}

/// What a write does to the copies in L2.
pub(crate) struct SharedWrites<V> {
    pub(crate) l2: Arc<L2>,
    pub(crate) policy: WritePolicy,
    pub(crate) fill: FillItem<V>,
}

/// Makes the copy of an item for L2.
pub(crate) type FillItem<V> = Box<dyn Fn(Box<str>, &V, Origin) -> Fill + Send + Sync>;

impl<V, C: Copies> Publisher<V, C> {
    /// Applies a commit and publishes it. Waits for Redis no longer than a command may take; the other replicas find in the change
    /// log what Redis misses.
    pub(crate) async fn publish(&self, commit: Commit<V>) {
        let Commit { incarnation, horizon, witness, changes, items } = commit;
        for change in &changes {
            self.applier.apply(Source::Own, change, incarnation);
        }
        let Some(SharedWrites { l2, policy, fill }) = &self.shared else { return };
        if changes.is_empty() || !l2.is_up() {
            return;
        }
        let origin = Origin { incarnation, horizon, version: 0, witness };
        let fills = items.into_iter().map(|(name, value)| fill(name, &value, origin));
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
