//! What a statement of the database could see.

use crate::Witness;

/// The changes that a statement could see: change `id` is visible if it is below `xmax` and not in `in_progress`.
///
/// SQLite has one writer: there, `xmin` and `xmax` are both one more than the highest visible id, and nothing is in progress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every change below this id was visible.
    pub xmin: u64,
    /// No change at or above this id was visible.
    pub xmax: u64,
    /// The invisible changes in between, in ascending order.
    pub in_progress: Vec<u64>,
    /// The salt of the newest visible change, in a database whose changes are totally ordered and whose backups restore the
    /// incarnation. There, a copy or a token belongs to this life only if its [`Witness`] does. `None` in other databases.
    pub salt: Option<u64>,
}

impl Snapshot {
    /// The newest visible change, where it implies every earlier one.
    pub fn witness(&self) -> Option<Witness> {
        self.salt.map(|salt| Witness { id: self.xmax.saturating_sub(1), salt })
    }

    /// Whether a change was visible.
    pub fn sees(&self, id: u64) -> bool {
        id < self.xmin || (id < self.xmax && self.in_progress.binary_search(&id).is_err())
    }

    /// Whether every change visible to `other` was visible to this snapshot.
    pub fn covers(&self, other: &Self) -> bool {
        let unseen = |id: u64| other.in_progress.binary_search(&id).is_ok();
        let above = other.in_progress.iter().filter(|&&id| id >= self.xmax).count() as u64;
        above >= other.xmax.saturating_sub(self.xmax)
            && self.in_progress.iter().take_while(|&&id| id < other.xmax).all(|&id| unseen(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(xmin: u64, xmax: u64, in_progress: &[u64]) -> Snapshot {
        Snapshot { xmin, xmax, in_progress: in_progress.to_vec(), salt: None }
    }

    #[test]
    fn a_snapshot_covers_what_it_sees_all_of() {
        let snapshots = [
            snapshot(5, 5, &[]),
            snapshot(5, 8, &[5]),
            snapshot(5, 8, &[5, 6]),
            snapshot(6, 8, &[6]),
            snapshot(8, 8, &[]),
            snapshot(5, 9, &[5, 8]),
            snapshot(5, 7, &[5]),
            snapshot(7, 10, &[7, 9]),
        ];
        for one in &snapshots {
            for other in &snapshots {
                let expected = (0..12).all(|id| one.sees(id) || !other.sees(id));
                assert_eq!(one.covers(other), expected, "{one:?} covers {other:?}");
            }
        }
    }
}
