//! Commits by their salts, and sets of them.

use super::database::Database;

/// A commit's number among those of all lives, from 1 on; 0 is what was there at first.
pub type Salt = u8;
/// A row.
pub type Key = u8;
/// How many rows a database has; a scenario may use fewer.
pub const ROWS: usize = 2;

/// Some commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Salts(u64);

impl Salts {
    /// Whether one is among them.
    pub fn has(self, salt: Salt) -> bool {
        self.0 & (1 << salt) != 0
    }

    /// Adds one.
    pub fn add(&mut self, salt: Salt) {
        self.0 |= 1 << salt;
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that another set does not have.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether another set has all of them.
    pub fn within(self, other: Self) -> bool {
        self.without(other) == Self::default()
    }

    /// Each of them, in rising order.
    pub fn iter(self) -> impl Iterator<Item = Salt> {
        (0..64).filter(move |&salt| self.has(salt))
    }
}

impl FromIterator<Salt> for Salts {
    fn from_iter<T: IntoIterator<Item = Salt>>(salts: T) -> Self {
        let mut set = Self::default();
        salts.into_iter().for_each(|salt| set.add(salt));
        set
    }
}

/// For each row the commits whose state it had at any moment since some moment. The judge keeps it: a read that is fresh from
/// that moment on may return any of these, and nothing else, whatever was put back meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Since([Salts; ROWS]);

impl Since {
    /// From now on.
    pub fn now(database: &Database) -> Self {
        Self(database.file.rows.map(|row| Salts::from_iter([row.stamp])))
    }

    /// The database is in another state.
    pub fn observe(&mut self, database: &Database) {
        for (had, row) in self.0.iter_mut().zip(&database.file.rows) {
            had.add(row.stamp);
        }
    }

    /// Whether a row had this state.
    pub fn had(&self, key: Key, stamp: Salt) -> bool {
        self.0[usize::from(key)].has(stamp)
    }
}
