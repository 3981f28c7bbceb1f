//! Lives of a database, and the names of changes in them.

/// The incarnation of the database. After a crash that may have lost commits, a promotion or a restore, it is another one. Change
/// ids of one incarnation mean nothing in another. Two lives share an incarnation only in databases whose snapshots have a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// What two incarnations have in common when the database server was only started anew in between, perhaps over an earlier copy of
/// its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lineage(pub u64);

/// A change, named by its id and salt. Where changes are totally ordered, a database that has this change also has every
/// earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Witness {
    /// The id of the change.
    pub id: u64,
    /// The salt of the change.
    pub salt: u64,
}

/// A token names a commit, so that a later read can demand the state of that commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The incarnation of the database that was written to.
    pub incarnation: Incarnation,
    /// The id of a change of the commit: a reader that sees the change sees the commit.
    pub id: u64,
    /// The salt of that change: another life of the database has the commit only if it has a change with this id and salt. 0 if
    /// the commit made no change, since no other life can be asked for it.
    pub salt: u64,
}

impl Token {
    /// The change that the token names.
    pub fn witness(self) -> Witness {
        Witness { id: self.id, salt: self.salt }
    }
}
