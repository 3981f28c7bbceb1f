//! Medians, and ratios taken round by round.

use serde::Serialize;

/// How one server compares with another: the ratio of every round, summed up.
///
/// On a machine that others use, two figures taken minutes apart cannot be compared; two of the same round can. So the
/// ratio is formed within each round and the median taken over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Ratio {
    /// Of `(ours, theirs)` by round. Rounds in which theirs is nothing are left out; `None` when none remains.
    pub(crate) fn of(rounds: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Vec<f64> =
            rounds.into_iter().filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs).collect();
        Some(Self {
            median: median(ratios.iter().copied())?,
            min: ratios.iter().copied().reduce(f64::min)?,
            max: ratios.iter().copied().reduce(f64::max)?,
        })
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[values.len() / 2 - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        // Every round says 1.5, though the machine slows down threefold: the ratio of the two medians says so only by luck.
        let rounds = [(15.0, 10.0), (30.0, 20.0), (45.0, 30.0), (60.0, 20.0), (15.0, 15.0)];
        assert_eq!(Ratio::of(rounds), Some(Ratio { median: 1.5, min: 1.0, max: 3.0 }));
    }

    #[test]
    fn rounds_without_a_reference_do_not_count() {
        assert_eq!(Ratio::of([(1.0, 0.0)]), None);
        assert_eq!(Ratio::of([(1.0, 0.0), (4.0, 2.0)]).map(|ratio| ratio.median), Some(2.0));
    }
}
