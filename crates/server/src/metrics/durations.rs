//! A histogram of durations for the hit path.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use larder_cache::{BOUNDS, Distribution, Exemplar};

/// Durations in the buckets of metrics, recorded by many threads without contention.
#[derive(Debug, Default)]
pub(super) struct Durations {
    shards: Sharded<Buckets>,
    /// The last traced duration of each bucket. Only traced calls take the lock.
    exemplars: Mutex<[Option<Exemplar>; BOUNDS.len() + 1]>,
}

/// One value for each of some groups of threads.
#[derive(Debug, Default)]
pub(super) struct Sharded<T>([Line<T>; SHARDS]);

/// A value on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

#[derive(Debug, Default)]
struct Buckets {
    /// One for each bound, and one for what is longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

const SHARDS: usize = 8;

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl<T> Sharded<T> {
    /// The value of this thread.
    pub(super) fn mine(&self) -> &T {
        &self.0[SHARD.get()].0
    }

    /// All values.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

impl Durations {
    /// Records a duration, and the trace that it belongs to.
    pub(super) fn record(&self, took: Duration, trace_id: Option<u128>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < nanos);
        let buckets = self.shards.mine();
        buckets.counts[bucket].fetch_add(1, Ordering::Relaxed);
        buckets.nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(trace_id) = trace_id {
            #[expect(clippy::disallowed_methods, reason = "an exemplar tells the time of day; nothing depends on it")]
            let at = SystemTime::now();
            let exemplar = Exemplar { trace_id, seconds: took.as_secs_f64(), at };
            self.exemplars.lock().unwrap_or_else(PoisonError::into_inner)[bucket] = Some(exemplar);
        }
    }

    /// Reads the durations.
    pub(super) fn read(&self) -> Distribution {
        let mut up_to = Vec::with_capacity(BOUNDS.len());
        let mut count = 0;
        for bucket in 0..=BOUNDS.len() {
            count += self.shards.all().map(|shard| shard.counts[bucket].load(Ordering::Relaxed)).sum::<u64>();
            up_to.push(count);
        }
        up_to.truncate(BOUNDS.len());
        let nanos = self.shards.all().map(|shard| shard.nanos.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).to_vec();
        Distribution { up_to, count, sum: Duration::from_nanos(nanos).as_secs_f64(), exemplars }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_that_it_fits_into() {
        let durations = Durations::default();
        for nanos in [0, 100_000, 100_001, 10_000_000_000, 10_000_000_001] {
            durations.record(Duration::from_nanos(nanos), None);
        }
        durations.record(Duration::from_secs(20), Some(1));
        let read = durations.read();
        assert_eq!((read.up_to[0], read.up_to[1], read.up_to[15], read.count), (2, 3, 4, 6));
        assert!((read.sum - 40.000_2).abs() < 1e-6, "{}", read.sum);
        assert_eq!(read.exemplars[16].map(|exemplar| exemplar.trace_id), Some(1));
    }
}
