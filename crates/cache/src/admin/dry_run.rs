//! What an invalidation would drop, for an operator who wants to know beforehand.

use crate::{
    l1::{L1, Value},
    validity::{Rule, Subject, Validity},
};

/// The copies in this replica's L1 that an invalidation would drop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    /// The number of copies.
    pub count: u64,
    /// The names of some of the copies, in no order.
    pub sample: Vec<Box<str>>,
}

/// Finds the copies that a change would drop, with the names of at most `most`. Copies that are invalid already do not count, nor do
/// copies that merely share a stripe with a key.
///
/// Unless the change names one key, every copy is examined, at some 0.8 µs each and without a lock: call this on a thread that may
/// block.
pub(crate) fn dry_run<V: Value>(l1: &L1<V>, validity: &Validity, subject: &Subject, most: usize) -> DryRun {
    let mut dry_run = DryRun::default();
    let mut found = |name: &str| {
        dry_run.count += 1;
        if dry_run.sample.len() < most {
            dry_run.sample.push(name.into());
        }
    };
    match Rule::of(subject) {
        Some(rule) => {
            for (name, entry) in l1.entries() {
                if entry.stands(validity) && entry.touched_by(&rule) {
                    found(&name);
                }
            }
        }
        None => {
            if let Subject::Key(key) | Subject::Entry { key, .. } = subject
                && l1.get(key).is_some_and(|entry| entry.stands(validity))
            {
                found(key);
            }
        }
    }
    dry_run
}
