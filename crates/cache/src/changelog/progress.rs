//! How far the change log has been learned, for who follows it through the cache.

use std::time::Duration;

use tokio::time::timeout;

use crate::{Cache, Incarnation, ReadError, Snapshot, Value};

impl<V: Value> Cache<V> {
    /// Up to which snapshot of which database everything has been learned; `None` before the first look at the change log.
    pub fn view(&self) -> Option<(Snapshot, Incarnation)> {
        self.validity().view().map(|view| (view.snapshot.clone(), view.incarnation))
    }

    /// Waits until everything that a snapshot saw has been learned, so that what is read from here on shows it.
    pub async fn wait_until_applied(
        &self,
        snapshot: &Snapshot,
        incarnation: Incarnation,
        at_most: Duration,
    ) -> Result<(), ReadError> {
        let wait = async {
            let mut looks = self.progress().looks();
            loop {
                match self.validity().view() {
                    Some(view) if view.incarnation != incarnation => return Err(ReadError::OtherIncarnation),
                    Some(view) if view.snapshot.covers(snapshot) => return Ok(()),
                    Some(_) | None => {}
                }
                if looks.changed().await.is_err() {
                    return Err(ReadError::NoPass);
                }
            }
        };
        timeout(at_most, wait).await.unwrap_or(Err(ReadError::NoPass))
    }
}
