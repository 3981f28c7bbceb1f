//! How long a replica waits for a load of another replica.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{collections::HashMap, time::Duration};

use crate::time::Moment;

/// What a waiter concludes from the lease of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Another replica is loading.
    Held,
    /// No replica is loading.
    Free,
    /// The holder has had enough time by the clock of this replica, or Redis shows leases that are over. This replica then loads
    /// whatever Redis says: a lease only saves work, and neither a dead holder nor a jump of Redis's clock may delay a reader for
    /// longer than a lease lasts.
    Overdue,
}

/// The leases that a waiter has seen.
#[derive(Default)]
pub(crate) struct Leases(HashMap<Box<str>, Seen>);

struct Seen {
    /// The values of the leases, in order of appearance. No value is used twice.
    values: Vec<Vec<u8>>,
    /// When the last value appeared.
    since: Moment,
}

/// Successive leases after which the waiter stops waiting.
const MOST_LEASES: usize = 8;

impl Leases {
    /// The last lease seen for a key.
    pub(crate) fn last(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name)?.values.last().cloned()
    }

    pub(crate) fn judge(&mut self, name: &str, lease: Option<Vec<u8>>, now: Moment, length: Duration) -> Lease {
        let Some(lease) = lease else { return Lease::Free };
        let Some(seen) = self.0.get_mut(name) else {
            self.0.insert(name.into(), Seen { values: vec![lease], since: now });
            return Lease::Held;
        };
        if seen.values.last() == Some(&lease) {
            return if now.since(seen.since) > length { Lease::Overdue } else { Lease::Held };
        }
        if seen.values.contains(&lease) || seen.values.len() == MOST_LEASES {
            return Lease::Overdue;
        }
        seen.values.push(lease);
        seen.since = now;
        Lease::Held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Moment {
        Moment::NEVER.plus(Duration::from_secs(seconds))
    }

    fn judge(leases: &mut Leases, value: &str, seconds: u64) -> Lease {
        leases.judge("a", Some(value.into()), at(seconds), LENGTH)
    }

    #[test]
    fn a_lease_is_held_for_its_length_and_then_overdue() {
        let mut leases = Leases::default();
        assert_eq!(leases.judge("a", None, at(1), LENGTH), Lease::Free);
        assert_eq!(judge(&mut leases, "x", 1), Lease::Held);
        assert_eq!(judge(&mut leases, "x", 4), Lease::Held);
        assert_eq!(judge(&mut leases, "x", 5), Lease::Overdue);
        assert_eq!(leases.judge("b", Some("x".into()), at(5), LENGTH), Lease::Held, "of another key");
    }

    #[test]
    fn another_holder_has_time_of_its_own() {
        let mut leases = Leases::default();
        judge(&mut leases, "x", 1);
        assert_eq!(judge(&mut leases, "y", 4), Lease::Held);
        assert_eq!(judge(&mut leases, "y", 7), Lease::Held);
        assert_eq!(judge(&mut leases, "y", 8), Lease::Overdue);
    }

    #[test]
    fn leases_that_come_up_again_or_change_for_ever_are_not_believed() {
        let mut leases = Leases::default();
        judge(&mut leases, "x", 1);
        judge(&mut leases, "y", 1);
        assert_eq!(judge(&mut leases, "x", 1), Lease::Overdue);
        let mut leases = Leases::default();
        let verdicts: Vec<Lease> = (0..9).map(|value| judge(&mut leases, &value.to_string(), 1)).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Lease::Held).count(), MOST_LEASES);
        assert_eq!(verdicts[8], Lease::Overdue);
    }
}
