//! The change log as a reader sees it.

/// One row of the change log: a committed change, or a requested invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Orders changes against snapshots: the id of the transaction in PostgreSQL, the number of the change in SQLite.
    pub id: u64,
    /// Chance. It tells this change from one of the same id in another life of the database.
    pub salt: u64,
    /// What it touches.
    pub subject: Subject,
    /// Who made it, and when.
    pub cause: Cause,
}

/// Who made a change, and when, as far as the log tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// The W3C `traceparent` of a traced write of Larder's. Whoever types a row may have written anything here.
    pub traceparent: Option<Box<str>>,
    /// When the change was logged, by the clock of the database, in microseconds since 1970.
    pub logged_micros: Option<u64>,
}

/// What a change touches.
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

/// What products have in common, and a list can depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// A category.
    Category(String),
    /// A tag.
    Tag(String),
}

/// Which changes a statement could see.
///
/// Change `id` was seen if it is below `xmax` and not one of `in_progress`. SQLite has one writer: there `xmin` and `xmax`
/// are both one more than the highest number seen and nothing is in progress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its horizon: every change below it was seen.
    pub xmin: u64,
    /// No change at or above it was seen.
    pub xmax: u64,
    /// Changes from `xmin` to `xmax` that were not seen, in rising order.
    pub in_progress: Vec<u64>,
    /// SQLite: the salt of the newest change seen. Changes have one order there, so that whoever has that very change has
    /// everything before it as well. `None` in PostgreSQL.
    pub salt: Option<u64>,
}

impl Snapshot {
    /// The newest change seen, where that one stands for all before it: its id and salt.
    pub fn witness(&self) -> Option<(u64, u64)> {
        self.salt.map(|salt| (self.xmax.saturating_sub(1), salt))
    }

    /// Whether a change was seen.
    pub fn sees(&self, id: u64) -> bool {
        id < self.xmin || (id < self.xmax && self.in_progress.binary_search(&id).is_err())
    }

    /// Whether it saw everything that another one saw.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let seen_by_other = |id: &u64| *id < other.xmax && other.in_progress.binary_search(id).is_err();
        self.xmax >= other.xmax && !self.in_progress.iter().any(seen_by_other)
    }
}

/// Which life of the database this is. After a crash that may have lost commits, a promotion or a restore it is another,
/// and change ids and versions of before mean nothing.
///
/// In PostgreSQL it is made of what cannot be put back: no restored database ever has the incarnation of a lost life. A SQLite
/// file brings its own back, which is why snapshots have a [`witness`](Snapshot::witness) there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// Under what a load read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPoint {
    /// What it could see.
    pub snapshot: Snapshot,
    /// Of which database; `None` when that could not be told, as on a standby: what was read may be served, not kept.
    pub incarnation: Option<Incarnation>,
}

/// What one look at the change log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// What it could see.
    pub snapshot: Snapshot,
    /// Of which database.
    pub incarnation: Incarnation,
    /// What two incarnations have in common when the server was only started anew in between, perhaps over an earlier copy of its
    /// files; `None` where no start of a server makes an incarnation.
    pub lineage: Option<u64>,
    /// What has been committed since the pass before.
    pub changes: PassChanges,
}

/// What the change log says of a change that somebody names by its id and salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// It is there: this life of the database has the commit.
    Here,
    /// The log tells what is that old, and that change is not there.
    Unknown,
    /// Changes that old may have been pruned.
    Pruned,
}

/// What the change log told of some changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Of which database.
    pub incarnation: Incarnation,
    /// Of each, in the order in which they were named.
    pub changes: Vec<Recalled>,
}

/// What the change log told from an earlier snapshot on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// What came after it.
    Told(Pass),
    /// Some of that has been pruned.
    Pruned,
    /// The snapshot is of another life of the database.
    OtherLife,
}

/// The changes between two passes, in the order of their versions, so that those of each key rise; requested invalidations,
/// which have none, come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassChanges {
    /// All of them.
    Complete(Vec<Change>),
    /// Anything may have changed: there is no pass before, or since then more has changed than can be told one by one, or some
    /// of it is no longer in the log. What the log still tells is read back, so that whoever knows nothing begins with that.
    Window {
        /// From this id on the changes are complete. Never below what has been pruned.
        from: u64,
        /// All changes of at least that id that the snapshot of the pass sees.
        changes: Vec<Change>,
    },
    /// The log does not tell of every change, for this reason: what writes it is missing, altered or switched off.
    Incomplete(String),
}

impl PassChanges {
    /// What came after a snapshot, if it is not more than `limit`.
    pub(crate) fn after(snapshot: &Snapshot, changes: Vec<Change>, limit: u32) -> Self {
        if changes.len() > limit as usize {
            Self::Window { from: snapshot.xmax, changes: Vec::new() }
        } else {
            Self::Complete(changes)
        }
    }

    /// The window made of the newest changes whose ids are at least `below`, of which at most `limit` + 1 were read: one too
    /// many tells that more were left out.
    ///
    /// Those left out may have the same id as the oldest that were read, being of one transaction. So none of that id stay.
    pub(crate) fn window(below: u64, mut changes: Vec<Change>, limit: u32) -> Self {
        let mut from = below;
        if changes.len() > limit as usize {
            let oldest = changes.iter().map(|change| change.id).min().unwrap_or(below);
            from = from.max(oldest.saturating_add(1));
        }
        changes.retain(|change| change.id >= from);
        Self::Window { from, changes }
    }
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
const MOST_TERMS: usize = 1_024;
const MOST_BYTES: usize = 512 << 10;

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
    use super::*;

    fn rules(ids: &[u64]) -> Vec<Change> {
        ids.iter().map(|&id| Change { id, salt: 0, subject: Subject::All, cause: Cause::default() }).collect()
    }

    #[test]
    fn a_window_holds_whole_transactions() {
        let window = |below, ids: &[u64], limit| PassChanges::window(below, rules(ids), limit);
        let expected = |from, ids: &[u64]| PassChanges::Window { from, changes: rules(ids) };
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
