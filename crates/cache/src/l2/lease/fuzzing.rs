//! Leases for fuzzing.

use super::{Duration, Lease, Leases, MOST_LEASES, Moment};

const LENGTH: Duration = Duration::from_secs(3);

/// Shows a waiter leases, two bytes each: the value, where 0 is none, and how much time passes before. However Redis answers, the
/// waiter waits for one value no longer than a lease lasts, and for a bounded number of values.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn lease(input: &[u8]) {
    let (mut leases, mut now) = (Leases::default(), Moment::NEVER.plus(Duration::from_secs(1)));
    let (mut values, mut since) = (Vec::new(), now);
    for &[value, pause] in input.as_chunks::<2>().0 {
        now = now.plus(Duration::from_millis(u64::from(pause) * 20));
        let shown = (value != 0).then(|| vec![value]);
        let verdict = leases.judge("a", shown, now, LENGTH);
        assert_eq!(verdict == Lease::Free, value == 0);
        if verdict != Lease::Held {
            // The waiter loads; whoever comes next waits anew.
            leases = Leases::default();
            values.clear();
            continue;
        }
        if values.last() != Some(&value) {
            assert!(!values.contains(&value), "waited for a lease that was over");
            values.push(value);
            since = now;
        }
        assert!(now.since(since) <= LENGTH, "waited for longer than a lease lasts");
        assert!(values.len() <= MOST_LEASES, "waited for ever new leases");
        assert_eq!(leases.last("a"), Some(vec![value]));
    }
}
