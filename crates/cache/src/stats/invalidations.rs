//! Counts of what was learned, by who brought it and by what it touches.

use crate::{Counter, Subject, Term};

/// Who brought a change first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A write of this replica.
    Own,
    /// Another replica, over the bus.
    Bus,
    /// The change log.
    Log,
    /// The change log, whatever was learned before.
    LogAlone,
}

/// Changes learned, each once, by who brought it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InvalidationCounts {
    /// Writes of this replica.
    pub own: SubjectCounts,
    /// The bus.
    pub bus: SubjectCounts,
    /// The change log.
    pub log: SubjectCounts,
}

/// Changes by what they touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubjectCounts {
    /// Entries that were written or deleted.
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

/// Counts for [`InvalidationCounts`].
#[derive(Debug, Default)]
pub struct InvalidationCounters {
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

impl InvalidationCounters {
    pub(crate) fn count(&self, source: Source, subject: &Subject) {
        let kinds = match source {
            Source::Own => &self.own,
            Source::Bus => &self.bus,
            Source::Log | Source::LogAlone => &self.log,
        };
        match subject {
            Subject::Entry { .. } => kinds.entries.one(),
            Subject::Key(_) => kinds.keys.one(),
            Subject::Term(term) => match Term::parse(term) {
                Some(Term::Category(_)) => kinds.categories.one(),
                Some(Term::Tag(_)) | None => kinds.tags.one(),
            },
            Subject::Pattern(_) => kinds.patterns.one(),
            Subject::All => kinds.all.one(),
        }
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
