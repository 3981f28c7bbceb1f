//! Changes as the cache applies them: each names the copies that it touches.

use larder_change::Term;

use crate::stats::SubjectKind;

/// A change, or a requested invalidation, in terms of copies.
pub type Change = larder_change::Change<Subject>;
/// What one pass over the change log found, in terms of copies.
pub type LogBatch = larder_change::LogBatch<Subject>;
/// The new changes in the change log, in terms of copies.
pub type Changes = larder_change::Changes<Subject>;

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The entry of a key, and every list that depends on one of the terms or on [`ANY`](crate::ANY).
    Entry {
        /// The key of the entry.
        key: String,
        /// The version that the change gave the key: above every earlier version of the key, even if the change deleted the
        /// entry.
        version: i64,
        /// The old and new terms of the entry, on which lists may depend.
        terms: Vec<String>,
    },
    /// The entry of a key alone.
    Key(String),
    /// Every entry that has a [`Term`](crate::Term), and every list.
    Term(String),
    /// Every entry whose key matches a [`Glob`](crate::Glob). A pattern that cannot be parsed counts as [`All`](Self::All).
    Pattern(String),
    /// Every entry.
    All,
}

impl Subject {
    /// The kind by which changes are counted.
    pub(super) fn kind(&self) -> SubjectKind {
        match self {
            Self::Entry { .. } => SubjectKind::Entry,
            Self::Key(_) => SubjectKind::Key,
            Self::Term(term) => match Term::parse(term) {
                Some(Term::Category(_)) => SubjectKind::Category,
                Some(Term::Tag(_)) | None => SubjectKind::Tag,
            },
            Self::Pattern(_) => SubjectKind::Pattern,
            Self::All => SubjectKind::All,
        }
    }
}
