//! What happens in a check: which transactions there are, what is read, and which faults may strike.
//!
//! There is one row, `key`. A scenario is small, and within it everything may happen in every order.

/// A list's category. The row is in one of them, or in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// The category in which the row is at first.
    A,
    /// Another one.
    B,
}

/// What can be read, and be a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The row, or that there is none.
    Item,
    /// The ids of a category.
    List(Term),
}

/// What a transaction does, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    /// Updates the row, which stays in category A.
    Update,
    /// Updates the row, and moves it from category A to B.
    Move,
    /// Deletes the row.
    Delete,
    /// Inserts the row into category A. The version is drawn first; then the row's lock is waited for.
    Insert,
    /// Changes the row with the triggers switched off, hence under its old version, and logs an invalidation of the key.
    InvalidateKey,
    /// The same, but logs an invalidation of everything: a rule.
    InvalidateAll,
    /// Writes nothing of interest. While it runs, it holds every horizon back.
    Other,
}

impl Script {
    /// Whether its commit changes what a read of `subject` returns.
    pub fn touches(self, subject: Subject) -> bool {
        match (self, subject) {
            (Self::Other, _) | (Self::Update | Self::InvalidateKey, Subject::List(_)) => false,
            (Self::Delete | Self::Insert, Subject::List(term)) => term == Term::A,
            (Self::InvalidateAll | Self::Move, Subject::List(_)) | (_, Subject::Item) => true,
        }
    }
}

/// What may strike at any time, as often as it changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Transactions roll back.
    Abort,
    /// A replica restarts, which loses all its memory.
    Restart,
    /// The change log is pruned.
    Prune,
    /// A replica forgets what it has learned.
    Forget,
    /// The database crashes, once, and loses its last commits.
    Lose,
}

/// The bounds of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The transactions. Each may run once, at any time, beside all others.
    pub scripts: Vec<Script>,
    /// What is read.
    pub subjects: Vec<Subject>,
    /// Whether the row exists at first.
    pub exists: bool,
    /// The replicas that are looked at; all others are hidden in what bus and Redis may do.
    pub replicas: usize,
    /// How many changes a pass can take in.
    pub limit: usize,
    /// Whether the bus brings anything at all.
    pub bus: bool,
    /// Whether Redis returns anything at all.
    pub redis: bool,
    /// What else may strike.
    pub faults: &'static [Fault],
}

impl Scenario {
    /// One replica that reads `subjects`, with bus and Redis, while `scripts` run.
    pub fn new(scripts: &[Script], subjects: &[Subject]) -> Self {
        Self {
            scripts: scripts.to_vec(),
            subjects: subjects.to_vec(),
            exists: true,
            replicas: 1,
            limit: usize::MAX,
            bus: true,
            redis: true,
            faults: &[],
        }
    }

    /// Two updates of one row.
    pub fn updates() -> Self {
        Self { faults: &[Fault::Abort], ..Self::new(&[Script::Update, Script::Update], &[Subject::Item]) }
    }

    /// A row that does not exist is created while an older transaction runs.
    pub fn creation() -> Self {
        Self { exists: false, ..Self::new(&[Script::Insert, Script::Other], &[Subject::Item]) }
    }

    /// A row is deleted and created again, in both orders of the versions.
    pub fn rebirth() -> Self {
        Self::new(&[Script::Delete, Script::Insert], &[Subject::Item])
    }

    /// A row is updated, deleted and created again, in every order of ids and versions, with nothing but the follower and
    /// what writers and readers have left in Redis.
    pub fn late() -> Self {
        Self { bus: false, ..Self::new(&[Script::Update, Script::Delete, Script::Insert], &[Subject::Item]) }
    }

    /// A row moves from one category to another, while another transaction holds the horizon back.
    pub fn moving() -> Self {
        Self::new(&[Script::Move, Script::Other], &[Subject::List(Term::A), Subject::List(Term::B)])
    }

    /// A row and the list in which it stands: it is deleted, and comes back.
    pub fn membership() -> Self {
        Self::new(&[Script::Delete, Script::Insert], &[Subject::List(Term::A)])
    }

    /// A rule for everything, and an update.
    pub fn rules() -> Self {
        Self::new(&[Script::InvalidateAll, Script::Update], &[Subject::Item])
    }

    /// A requested invalidation of a key, and an update.
    pub fn invalidation() -> Self {
        Self::new(&[Script::InvalidateKey, Script::Update], &[Subject::Item])
    }

    /// The change log is pruned, replicas restart, sleep and forget.
    pub fn forgetting() -> Self {
        let updates = Self::new(&[Script::Update, Script::Update], &[Subject::Item]);
        Self { faults: &[Fault::Restart, Fault::Prune, Fault::Forget], ..updates }
    }

    /// A pass finds more than it can take in.
    pub fn flood() -> Self {
        Self { limit: 1, ..Self::new(&[Script::Update, Script::InvalidateKey], &[Subject::Item]) }
    }

    /// The database loses its last commits and uses their numbers again.
    pub fn lives() -> Self {
        Self { faults: &[Fault::Lose], ..Self::new(&[Script::Update, Script::Update], &[Subject::Item]) }
    }

    /// Three transactions that commit in every order, with nothing but the follower to tell of them.
    pub fn order() -> Self {
        Self { bus: false, redis: false, ..Self::new(&[Script::Update; 3], &[Subject::Item]) }
    }

    /// A replica that reads both a row and the list in which it stands.
    pub fn shelf() -> Self {
        Self { bus: false, ..Self::new(&[Script::Delete, Script::Insert], &[Subject::Item, Subject::List(Term::A)]) }
    }

    /// Two replicas, to see that one stands for all.
    pub fn pair() -> Self {
        Self { replicas: 2, bus: false, ..Self::new(&[Script::Update], &[Subject::Item]) }
    }
}
