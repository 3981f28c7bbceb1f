//! The change log in terms of products.

use larder_change::{Incarnation, Snapshot, Term};

/// One row of the change log: a committed change, or a requested invalidation.
pub type Change = larder_change::Change<Subject>;
/// What one look at the change log found.
pub type LogBatch = larder_change::LogBatch<Subject>;
/// The changes between two looks.
pub type Changes = larder_change::Changes<Subject>;

/// What a change touches, in terms of products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A product was written.
    Put {
        /// Its id.
        key: String,
        /// The version that it has now.
        version: i64,
        /// The categories and tags that it had or has.
        terms: Vec<Term>,
    },
    /// A product was deleted.
    Delete {
        /// Its id.
        key: String,
        /// A version above every one that it had.
        version: i64,
        /// The categories and tags that it had.
        terms: Vec<Term>,
    },
    /// Copies of one key are to be dropped.
    Key(String),
    /// Copies of everything in a category or with a tag are to be dropped.
    Term(Term),
    /// Copies of every key that matches a glob are to be dropped.
    Pattern(String),
    /// Every copy is to be dropped.
    All,
}

/// Under what a load read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPoint {
    /// What it could see.
    pub snapshot: Snapshot,
    /// Of which database; `None` when that could not be told, as on a standby: what was read may be served, not kept.
    pub incarnation: Option<Incarnation>,
}

/// What the change log told from an earlier snapshot on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// What came after it.
    Told(LogBatch),
    /// Some of that has been pruned.
    Pruned,
    /// The snapshot is of another life of the database.
    OtherLife,
}

/// What came after a snapshot, if it is not more than `limit`.
pub(crate) fn changes_after(snapshot: &Snapshot, changes: Vec<Change>, limit: u32) -> Changes {
    if changes.len() > limit as usize {
        Changes::Window { from: snapshot.xmax, changes: Vec::new() }
    } else {
        Changes::Complete(changes)
    }
}

/// The window made of the newest changes whose ids are at least `below`, of which at most `limit` + 1 were read: one too
/// many tells that more were left out.
///
/// Those left out may have the same id as the oldest that were read, being of one transaction. So none of that id stay.
pub(crate) fn changes_window(below: u64, mut changes: Vec<Change>, limit: u32) -> Changes {
    let mut from = below;
    if changes.len() > limit as usize {
        let oldest = changes.iter().map(|change| change.id).min().unwrap_or(below);
        from = from.max(oldest.saturating_add(1));
    }
    changes.retain(|change| change.id >= from);
    Changes::Window { from, changes }
}

/// Puts changes in the order in which they are told. Neither their place in the table nor the ids of transactions say which of
/// two changes of a product came first: a transaction that began early may be the last to write.
pub(crate) fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| match change.subject {
        Subject::Put { version, .. } | Subject::Delete { version, .. } => Some(version),
        Subject::Key(_) | Subject::Term(_) | Subject::Pattern(_) | Subject::All => None,
    });
    changes
}

/// Terms of one change, and bytes of its key and terms, that are told one by one: more than the contract allows.
pub(crate) const MOST_TERMS: usize = 1_024;
pub(crate) const MOST_BYTES: usize = 512 << 10;
/// The kind as which a row is read that is too large to be fetched.
pub(crate) const OVERSIZED: &str = "oversized";

/// What a row of the change log touches: if it cannot be read, or is larger than anything of the contract's, everything.
pub(crate) fn subject<E: std::fmt::Display>(id: u64, read: Result<Subject, E>) -> Subject {
    let why = match read {
        Ok(subject) if subject.is_bearable() => return subject,
        Ok(_) => "too large".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(id, why, "a row of the change log cannot be read, it counts as a change of everything");
    Subject::All
}

impl Subject {
    fn is_bearable(&self) -> bool {
        match self {
            Self::Put { key, terms, .. } | Self::Delete { key, terms, .. } => {
                let bytes: usize = terms.iter().map(|(Term::Category(term) | Term::Tag(term))| term.len()).sum();
                terms.len() <= MOST_TERMS && key.len() + bytes <= MOST_BYTES
            }
            Self::Key(text) | Self::Pattern(text) | Self::Term(Term::Category(text) | Term::Tag(text)) => {
                text.len() <= MOST_BYTES
            }
            Self::All => true,
        }
    }
}

/// The terms of a change, each once.
pub(crate) fn terms(categories: Vec<String>, tags: Vec<String>) -> Vec<Term> {
    let mut terms: Vec<Term> =
        categories.into_iter().map(Term::Category).chain(tags.into_iter().map(Term::Tag)).collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use larder_change::Cause;

    use super::*;

    fn rules(ids: &[u64]) -> Vec<Change> {
        ids.iter().map(|&id| Change { id, salt: 0, subject: Subject::All, cause: Cause::default() }).collect()
    }

    #[test]
    fn a_window_holds_whole_transactions() {
        let window = |below, ids: &[u64], limit| changes_window(below, rules(ids), limit);
        let expected = |from, ids: &[u64]| Changes::Window { from, changes: rules(ids) };
        assert_eq!(window(3, &[9, 7, 7, 5], 4), expected(3, &[9, 7, 7, 5]));
        assert_eq!(window(3, &[9, 7, 7, 5], 3), expected(6, &[9, 7, 7]));
        assert_eq!(window(3, &[9, 7, 7], 2), expected(8, &[9]));
        assert_eq!(window(3, &[9, 7], 1), expected(8, &[9]));
        assert_eq!(window(3, &[9], 0), expected(10, &[]));
        assert_eq!(window(3, &[], 0), expected(3, &[]));
        assert_eq!(window(8, &[9, 7], 5), expected(8, &[9]), "what is older than the window is left out");
    }

    #[test]
    fn what_cannot_be_read_or_borne_is_a_change_of_everything() {
        let put = |terms: usize, bytes: usize| Subject::Put {
            key: "a".to_owned(),
            version: 1,
            terms: (0..terms).map(|n| Term::Tag(format!("{n}{}", "x".repeat(bytes)))).collect(),
        };
        assert_eq!(subject::<String>(1, Ok(put(256, 512))), put(256, 512), "all that the contract allows");
        for read in [Err("bad"), Ok(put(2_000, 1)), Ok(put(1, 1 << 20)), Ok(Subject::Pattern("x".repeat(1 << 20)))] {
            assert_eq!(subject(1, read), Subject::All);
        }
    }
}
