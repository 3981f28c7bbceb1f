//! Detecting another catalogue that uses the same Redis under the same prefix.

use std::time::Duration;

use larder_change::Incarnation;

use crate::time::Moment;

/// Incarnations in messages that this replica never followed.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// When each incarnation was first heard of; the newest last.
    heard: Vec<(Incarnation, Moment)>,
    shared: bool,
}

/// Incarnations that are remembered.
const MOST_STRANGERS: usize = 16;
/// The staleness bounds after which an incarnation that is still heard of belongs to another catalogue: a replica that has not yet
/// noticed a change of the database does so within one bound.
const STRANGE_AFTER: u32 = 10;

impl Strangers {
    /// Whether another catalogue was detected.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Records a message of an incarnation that is not followed and never was. Returns whether the message reveals another
    /// catalogue, which only the first such message does.
    pub(super) fn hear(&mut self, incarnation: Incarnation, now: Moment, bound: Duration) -> bool {
        if self.shared {
            return false;
        }
        let Some((_, first)) = self.heard.iter().find(|(of, _)| *of == incarnation) else {
            if self.heard.len() == MOST_STRANGERS {
                self.heard.remove(0);
            }
            self.heard.push((incarnation, now));
            return false;
        };
        self.shared = now.since(*first) > bound * STRANGE_AFTER;
        self.shared
    }
}
