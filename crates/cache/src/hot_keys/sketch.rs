//! The keys that are read most, estimated from a sample of the reads.
//!
//! Two sketches of bounded memory (`HeavyKeeper`: Yang et al., "An Accurate Algorithm for Finding Top-k Elephant
//! Flows", IEEE/ACM Transactions on Networking, 2019) take turns: one fills for a period while the other holds the previous
//! period, whose weight decreases. Only a sample of the reads is counted, so that a hit stays cheap.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use heavykeeper::TopK;

use crate::time::Moment;

/// The keys that are read most.
pub(crate) struct HotKeySketch(Mutex<Periods>);

/// A key and how often it is read, by estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// The name of the key.
    pub name: String,
    /// Reads in the last period; older reads have less weight.
    pub reads: u64,
    /// Reads per second.
    pub rate: f64,
}

struct Periods {
    current: TopK<String>,
    before: TopK<String>,
    began: Moment,
    seed: u64,
    /// Reads by key since they were last taken for the shared hot keys.
    lately: HashMap<String, u64>,
}

/// How long a sketch fills.
const PERIOD: Duration = Duration::from_mins(1);
/// The most keys that are reported, and that each sketch keeps.
const KEYS: usize = 1_000;
/// The size of the sketch: some 130 KB at 16 bytes per cell.
const WIDTH: usize = 4_096;
const DEPTH: usize = 2;
/// How reluctantly a cell replaces its key; the paper uses 0.92.
const DECAY: f64 = 0.92;
/// Keys whose reads are kept until they are taken, and how many of them may be keys that L1 did not answer: a scan must not crowd
/// out the keys that are read often.
const LATELY: usize = 2_048;
const LATELY_MISSED: usize = LATELY / 2;
/// One read in this many is counted, on average. The gaps vary, so that no rhythm of the readers hides a key.
const SAMPLED: u64 = 16;

thread_local! {
    /// The reads until the next sampled one, and the state of the generator of gaps.
    static GAP: Cell<(u32, u32)> = const { Cell::new((1, 0x9E37_79B9)) };
}

/// Whether the current read belongs to the sample.
pub(crate) fn sampled() -> bool {
    GAP.with(|gap| {
        let (left, state) = gap.get();
        if left > 1 {
            gap.set((left - 1, state));
            return false;
        }
        // Xorshift (Marsaglia, "Xorshift RNGs", 2003): gaps of 1 to 31, 16 on average.
        let mut state = state;
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        gap.set((1 + state % 31, state));
        true
    })
}

impl HotKeySketch {
    pub(crate) fn new(now: Moment, seed: u64) -> Self {
        let sketch = |seed| TopK::with_seed(KEYS, WIDTH, DEPTH, DECAY, seed);
        Self(Mutex::new(Periods {
            current: sketch(seed),
            before: sketch(seed),
            began: now,
            seed,
            lately: HashMap::new(),
        }))
    }

    /// Counts a sampled read. Of two concurrent reads one is not counted, so that no reader waits.
    pub(crate) fn note(&self, name: &str, now: Moment) {
        let mut periods = match self.0.try_lock() {
            Ok(periods) => periods,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        periods.turn(now);
        periods.current.add(name, SAMPLED);
        periods.count_lately(name, SAMPLED, LATELY);
    }

    /// Counts a read that L1 did not answer, for the shared hot keys alone. Every such read counts, since the many rarely read keys
    /// are a good part of all reads and a sample would catch only a few of them.
    pub(crate) fn missed(&self, name: &str) {
        self.lock().count_lately(name, 1, LATELY_MISSED);
    }

    /// Takes the estimated reads by key since the last call, of at most 2,048 keys.
    pub(crate) fn take_lately(&self) -> HashMap<String, u64> {
        std::mem::take(&mut self.lock().lately)
    }

    fn lock(&self) -> MutexGuard<'_, Periods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that are read most, most read first; at most 1,000.
    pub(crate) fn top(&self, most: usize, now: Moment) -> Vec<HotKey> {
        let mut periods = self.lock();
        periods.turn(now);
        let share = (now.since(periods.began).as_secs_f64() / PERIOD.as_secs_f64()).min(1.0);
        let mut reads: HashMap<String, f64> = HashMap::new();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        for (sketch, weight) in [(&periods.current, 1.0), (&periods.before, 1.0 - share)] {
            for node in sketch.list() {
                *reads.entry(node.item).or_default() += node.count as f64 * weight;
            }
        }
        drop(periods);
        let mut keys: Vec<(String, f64)> = reads.into_iter().filter(|(_, reads)| *reads >= 1.0).collect();
        keys.sort_by(|(name, reads), (other, more)| more.total_cmp(reads).then_with(|| name.cmp(other)));
        keys.truncate(most);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate of at least 1")]
        keys.into_iter()
            .map(|(name, reads)| HotKey { name, reads: reads as u64, rate: reads / PERIOD.as_secs_f64() })
            .collect()
    }
}

impl Periods {
    fn count_lately(&mut self, name: &str, reads: u64, most: usize) {
        if let Some(counted) = self.lately.get_mut(name) {
            *counted += reads;
        } else if self.lately.len() < most {
            self.lately.insert(name.to_owned(), reads);
        }
    }

    /// Begins the next period once this one is over.
    fn turn(&mut self, now: Moment) {
        let since = now.since(self.began);
        if since < PERIOD {
            return;
        }
        let fresh = || TopK::with_seed(KEYS, WIDTH, DEPTH, DECAY, self.seed);
        let full = std::mem::replace(&mut self.current, fresh());
        self.before = if since < 2 * PERIOD { full } else { fresh() };
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(1).plus(Duration::from_secs(seconds))
    }

    fn names(keys: &[HotKey]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn the_most_read_come_first_among_many_others() {
        let hot = HotKeySketch::new(at(0), 7);
        for round in 0..1_000 {
            hot.note("a", at(1));
            if round % 2 == 0 {
                hot.note("b", at(1));
            }
            if round % 4 == 0 {
                hot.note("c", at(1));
            }
            hot.note(&format!("other-{round}"), at(1));
        }
        assert_eq!(names(&hot.top(3, at(30))), ["a", "b", "c"]);
        let reads = hot.top(1, at(30))[0].reads;
        assert!((15_000..=16_000).contains(&reads), "{reads}");
    }

    #[test]
    fn what_was_hot_cools_down() {
        let hot = HotKeySketch::new(at(0), 7);
        for _ in 0..100 {
            hot.note("old", at(1));
        }
        let reads = |now| hot.top(1, at(now)).first().map_or(0, |key| key.reads);
        let (soon, later) = (reads(61), reads(91));
        assert!(soon > later && later > 0, "{soon} {later}");
        for _ in 0..50 {
            hot.note("new", at(100));
        }
        assert_eq!(names(&hot.top(2, at(100))), ["new", "old"]);
        assert_eq!(names(&hot.top(2, at(150))), ["new"]);
        assert!(hot.top(2, at(2_000)).is_empty());
    }

    #[test]
    fn what_was_read_lately_is_taken_once_and_bounded() {
        let hot = HotKeySketch::new(at(0), 7);
        for number in 0..3 * LATELY {
            hot.missed(&format!("once-{number}"));
        }
        hot.missed("once-0");
        for number in 0..3 * LATELY {
            hot.note(&format!("hot-{number}"), at(1));
        }
        let lately = hot.take_lately();
        assert_eq!(lately.len(), LATELY);
        assert_eq!(lately.keys().filter(|name| name.starts_with("once-")).count(), LATELY_MISSED);
        assert_eq!((lately["once-0"], lately["once-1"], lately["hot-0"]), (2, 1, SAMPLED));
        assert!(hot.take_lately().is_empty());
        assert!(
            names(&hot.top(3, at(2))).iter().all(|name| name.starts_with("hot-")),
            "what is missed alone is not hot"
        );
    }

    #[test]
    fn one_read_in_sixteen_is_looked_at() {
        let looked = (0..160_000).filter(|_| sampled()).count();
        assert!((9_500..10_500).contains(&looked), "{looked}");
    }
}
