//! Counts of applied changes, by source and by subject.

use super::{Counter, Sample, metrics::INVALIDATIONS};

/// Who brought a change first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A write of this replica.
    Own,
    /// Another replica, over the bus.
    Bus,
    /// The change log.
    Log,
    /// The change log, where a change is applied again even if another source brought it before.
    LogAlone,
}

/// Applied changes, each counted once, for the source that brought it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InvalidationCounts {
    /// Changes from writes of this replica.
    pub own: SubjectCounts,
    /// Changes from the bus.
    pub bus: SubjectCounts,
    /// Changes from the change log.
    pub log: SubjectCounts,
}

/// Changes, by what they touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubjectCounts {
    /// Entries written or deleted.
    pub entries: u64,
    /// Invalidations of one key.
    pub keys: u64,
    /// Invalidations of a tag.
    pub tags: u64,
    /// Invalidations of a category.
    pub categories: u64,
    /// Invalidations of a pattern.
    pub patterns: u64,
    /// Invalidations of everything.
    pub all: u64,
}

impl SubjectCounts {
    /// Changes, whatever they touch.
    pub fn total(&self) -> u64 {
        let Self { entries, keys, tags, categories, patterns, all } = self;
        entries + keys + tags + categories + patterns + all
    }
}

impl InvalidationCounts {
    /// Every count as a sample.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let sources = [("own", self.own), ("bus", self.bus), ("log", self.log)];
        sources.into_iter().flat_map(|(source, counts)| {
            let SubjectCounts { entries, keys, tags, categories, patterns, all } = counts;
            [
                ("entry", entries),
                ("key", keys),
                ("tag", tags),
                ("category", categories),
                ("pattern", patterns),
                ("all", all),
            ]
            .map(|(subject, count)| INVALIDATIONS.count([source, subject], count))
        })
    }
}

/// The counters behind [`InvalidationCounts`].
#[derive(Debug, Default)]
pub(crate) struct InvalidationCounters {
    own: SubjectCounters,
    bus: SubjectCounters,
    log: SubjectCounters,
}

#[derive(Debug, Default)]
struct SubjectCounters {
    entries: Counter,
    keys: Counter,
    tags: Counter,
    categories: Counter,
    patterns: Counter,
    all: Counter,
}

/// The kinds of what a change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    Entry,
    Key,
    Tag,
    Category,
    Pattern,
    All,
}

impl InvalidationCounters {
    pub(crate) fn count(&self, source: Source, kind: SubjectKind) {
        let counters = match source {
            Source::Own => &self.own,
            Source::Bus => &self.bus,
            Source::Log | Source::LogAlone => &self.log,
        };
        let counter = match kind {
            SubjectKind::Entry => &counters.entries,
            SubjectKind::Key => &counters.keys,
            SubjectKind::Tag => &counters.tags,
            SubjectKind::Category => &counters.categories,
            SubjectKind::Pattern => &counters.patterns,
            SubjectKind::All => &counters.all,
        };
        counter.one();
    }

    /// Reads every count.
    pub(crate) fn read(&self) -> InvalidationCounts {
        InvalidationCounts { own: self.own.read(), bus: self.bus.read(), log: self.log.read() }
    }
}

impl SubjectCounters {
    fn read(&self) -> SubjectCounts {
        SubjectCounts {
            entries: self.entries.get(),
            keys: self.keys.get(),
            tags: self.tags.get(),
            categories: self.categories.get(),
            patterns: self.patterns.get(),
            all: self.all.get(),
        }
    }
}
