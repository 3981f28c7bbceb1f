//! What happens in a check of lives: which database it is, and what strikes it.

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Transactions commit out of the order of their ids; a server has a start time, tables have oids.
    Postgres,
    /// One writer; the file may be put back while processes have it open.
    Sqlite,
}

/// What may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Any state that was ever committed is put back as it was: a cold copy, a snapshot of the disk, the backup API. PostgreSQL's
    /// server is stopped for it.
    PutBack,
    /// `pg_restore --clean` into the live server: the tables are made anew, the server's ids go on.
    Restore,
    /// The server crashes, and loses its last commits. It does not start anew: only its children do.
    Crash,
    /// The server stops and starts; nothing is lost.
    Restart,
    /// Another file takes the place of the one that is open.
    Replace,
    /// A replica stops and starts, which loses all its memory.
    Stop,
    /// The change log is pruned.
    Prune,
    /// The triggers are switched off and on, and the row changes meanwhile, in one transaction or in several.
    Alter,
    /// A load is answered by a standby that lags.
    Standby,
}

/// The bounds of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The database.
    pub kind: Kind,
    /// How many commits there are in all lives together.
    pub commits: usize,
    /// How many rows there are.
    pub keys: u8,
    /// How many transactions may be under way at once.
    pub at_once: usize,
    /// The replicas that are looked at.
    pub replicas: usize,
    /// How often something strikes the database.
    pub strikes: u8,
    /// Whether the bus brings anything, own writes included.
    pub bus: bool,
    /// What may strike.
    pub faults: &'static [Fault],
}

impl Scenario {
    fn new(kind: Kind, faults: &'static [Fault]) -> Self {
        Self { kind, commits: 3, keys: 1, at_once: 1, replicas: 1, strikes: 1, bus: false, faults }
    }

    /// A data directory of PostgreSQL is put back, under replicas that run on or start anew.
    pub fn cold_copy() -> Self {
        Self { at_once: 2, ..Self::new(Kind::Postgres, &[Fault::PutBack, Fault::Stop]) }
    }

    /// The server is only started anew, or a cold copy of any state is put under it, while replicas keep their copies.
    pub fn restarted() -> Self {
        Self { commits: 2, strikes: 2, ..Self::new(Kind::Postgres, &[Fault::PutBack, Fault::Restart]) }
    }

    /// The same with transactions that overlap.
    pub fn restarted_overlapping() -> Self {
        Self { at_once: 2, strikes: 1, ..Self::restarted() }
    }

    /// It is put back and pruned.
    pub fn pruned() -> Self {
        Self { commits: 2, ..Self::new(Kind::Postgres, &[Fault::PutBack, Fault::Prune]) }
    }

    /// A dump is restored into the running server.
    pub fn dump() -> Self {
        Self { commits: 2, ..Self::new(Kind::Postgres, &[Fault::Restore, Fault::Stop]) }
    }

    /// The server crashes, or restarts, and uses ids again.
    pub fn crash() -> Self {
        Self { at_once: 2, ..Self::new(Kind::Postgres, &[Fault::Crash, Fault::Restart]) }
    }

    /// Triggers are switched off and on again.
    pub fn altered() -> Self {
        Self { commits: 2, strikes: 3, ..Self::new(Kind::Postgres, &[Fault::Alter, Fault::Stop]) }
    }

    /// The same with SQLite.
    pub fn schema() -> Self {
        Self { kind: Kind::Sqlite, ..Self::altered() }
    }

    /// A load comes to a standby.
    pub fn standby() -> Self {
        Self { commits: 2, strikes: 0, ..Self::new(Kind::Postgres, &[Fault::Standby]) }
    }

    /// A file of SQLite is put back, twice, under replicas that run on or start anew.
    pub fn put_back() -> Self {
        Self { commits: 2, strikes: 2, ..Self::new(Kind::Sqlite, &[Fault::PutBack, Fault::Stop]) }
    }

    /// Two rows, of which one changes only in the life that was lost.
    pub fn two_rows() -> Self {
        Self { commits: 2, keys: 2, ..Self::new(Kind::Sqlite, &[Fault::PutBack]) }
    }

    /// A change is learned before a pass finds it; its life is put back, and forth again.
    pub fn learned() -> Self {
        Self { commits: 1, strikes: 2, bus: true, ..Self::new(Kind::Sqlite, &[Fault::PutBack]) }
    }

    /// A file of SQLite is put back and pruned.
    pub fn kept() -> Self {
        Self { commits: 2, ..Self::new(Kind::Sqlite, &[Fault::PutBack, Fault::Prune]) }
    }

    /// Another file takes the place of the one that a replica has open.
    pub fn replaced() -> Self {
        Self { commits: 2, ..Self::new(Kind::Sqlite, &[Fault::Replace]) }
    }

    /// Two processes on one file.
    pub fn processes() -> Self {
        Self { commits: 1, replicas: 2, ..Self::new(Kind::Sqlite, &[Fault::PutBack]) }
    }

    /// Everything at once, for random walks.
    pub fn everything(kind: Kind) -> Self {
        let faults: &[Fault] = match kind {
            Kind::Postgres => &[
                Fault::PutBack,
                Fault::Restore,
                Fault::Crash,
                Fault::Restart,
                Fault::Stop,
                Fault::Prune,
                Fault::Alter,
                Fault::Standby,
            ],
            Kind::Sqlite => &[Fault::PutBack, Fault::Replace, Fault::Stop, Fault::Prune],
        };
        let at_once = if kind == Kind::Postgres { 3 } else { 1 };
        Self { commits: 60, keys: 2, at_once, replicas: 2, strikes: 40, bus: true, ..Self::new(kind, faults) }
    }
}
