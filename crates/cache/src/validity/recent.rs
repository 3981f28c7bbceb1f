//! The last applied changes, for people who watch a replica.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use super::change::Subject;
use crate::{
    stats::Source,
    time::{Clock, Moment},
};

/// Who brought a change first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSource {
    /// A write or an invalidation of this replica.
    Own,
    /// Another replica, over the bus.
    Bus,
    /// The change log.
    Log,
}

impl ChangeSource {
    pub(crate) fn of(source: Source) -> Self {
        match source {
            Source::Own => Self::Own,
            Source::Bus => Self::Bus,
            Source::Log | Source::LogAlone => Self::Log,
        }
    }
}

/// An applied change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentChange {
    /// The first change of this replica has number 1, the next one 2.
    pub number: u64,
    /// When the change was applied.
    pub at: Moment,
    /// Who brought the change first.
    pub source: ChangeSource,
    /// What the change touches.
    pub subject: Subject,
}

/// How many changes are kept. Of a burst of more, a reader sees the last ones.
pub(crate) const KEPT: usize = 200;

/// A ring of the last applied changes.
pub(crate) struct RecentChanges {
    clock: Clock,
    kept: Mutex<VecDeque<RecentChange>>,
    /// The number of the newest change.
    newest: watch::Sender<u64>,
}

impl RecentChanges {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::new(VecDeque::with_capacity(KEPT)), newest: watch::Sender::new(0) }
    }

    /// Adds a change, in place of the oldest one if the ring is full.
    pub(crate) fn add(&self, source: Source, subject: &Subject) {
        let source = ChangeSource::of(source);
        let subject = named(subject);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.newest.borrow() + 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(RecentChange { number, at: self.clock.now(), source, subject });
        self.newest.send_replace(number);
    }

    /// The kept changes above a number, oldest first.
    pub(crate) fn after(&self, number: u64) -> Vec<RecentChange> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.partition_point(|change| change.number <= number);
        kept.range(known..).cloned().collect()
    }

    /// The number of the newest change, and word of each newer one.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// A subject without the terms of its entry, which can be many.
fn named(subject: &Subject) -> Subject {
    match subject {
        Subject::Entry { key, version, .. } => {
            Subject::Entry { key: key.clone(), version: *version, terms: Vec::new() }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Subject {
        Subject::Key(format!("key:{number}"))
    }

    #[test]
    fn a_full_ring_forgets_the_oldest_changes() {
        let recent = RecentChanges::new(Clock::manual());
        let newest = recent.newest();
        for number in 1..=KEPT + 3 {
            recent.add(Source::Bus, &key(number));
        }
        let kept = recent.after(0);
        assert_eq!((kept.len(), kept[0].number, &kept[0].subject), (KEPT, 4, &key(4)));
        assert_eq!(*newest.borrow(), KEPT as u64 + 3);
        let last: Vec<_> = recent.after(KEPT as u64 + 1).into_iter().map(|change| change.subject).collect();
        assert_eq!(last, [key(KEPT + 2), key(KEPT + 3)]);
        assert_eq!(recent.after(KEPT as u64 + 3), []);
    }

    #[tokio::test]
    async fn a_change_is_announced_with_its_source() {
        let recent = RecentChanges::new(Clock::manual());
        let mut newest = recent.newest();
        let entry = Subject::Entry { key: "a".to_owned(), version: 7, terms: vec!["tag:b".to_owned()] };
        for (source, told) in [
            (Source::Own, ChangeSource::Own),
            (Source::Bus, ChangeSource::Bus),
            (Source::Log, ChangeSource::Log),
            (Source::LogAlone, ChangeSource::Log),
        ] {
            recent.add(source, &entry);
            newest.changed().await.unwrap();
            let number = *newest.borrow_and_update();
            let change = recent.after(number - 1).remove(0);
            assert_eq!((change.number, change.source), (number, told));
            assert_eq!(change.subject, Subject::Entry { key: "a".to_owned(), version: 7, terms: Vec::new() });
        }
    }
}
