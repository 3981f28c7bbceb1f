//! Copies that are written to L2 in the background. Only copies: a write itself is never behind, and a copy that is lost here is
//! loaded by its next reader.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    Cache, Incarnation, Value,
    l2::{Fill, L2},
};

/// Copies that wait to be written.
#[derive(Default)]
pub(crate) struct WriteBehind {
    queue: Mutex<VecDeque<(Incarnation, Fill)>>,
    wake: Notify,
}

/// Copies that may wait; more are dropped.
const MOST: usize = 4_096;
/// Copies written in one round trip.
const AT_ONCE: usize = 128;

impl<V: Value> Cache<V> {
    pub(crate) fn put_behind(&self, incarnation: Incarnation, fill: Fill) {
        let behind = &self.shared().behind;
        let mut queue = behind.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == MOST {
            self.counters().l2_dropped.one();
            return;
        }
        queue.push_back((incarnation, fill));
        drop(queue);
        behind.wake.notify_one();
    }

    pub(crate) async fn write_behind(&self, l2: &L2) {
        let behind = &self.shared().behind;
        loop {
            let (incarnation, fills) = behind.take();
            if fills.is_empty() {
                behind.wake.notified().await;
                continue;
            }
            self.counters().l2_sets.add(fills.len() as u64);
            let _ = l2.fill(incarnation, &fills, &[], self.counters()).await;
        }
    }
}

impl WriteBehind {
    /// Takes copies of one incarnation.
    fn take(&self) -> (Incarnation, Vec<Fill>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.front().map_or(Incarnation(0), |(incarnation, _)| *incarnation);
        let mut fills = Vec::new();
        while fills.len() < AT_ONCE
            && let Some((_, fill)) = queue.pop_front_if(|(incarnation, _)| *incarnation == first)
        {
            fills.push(fill);
        }
        (first, fills)
    }
}
