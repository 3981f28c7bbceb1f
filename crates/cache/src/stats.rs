//! Counts of what happens in the cache.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// A count that many threads raise without waiting for each other.
#[derive(Debug, Default)]
pub struct Counter([Shard; SHARDS]);

const SHARDS: usize = 16;

/// A cache line of its own, so that two threads that count do not pass one line to and fro.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl Counter {
    /// Counts one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0[SHARD.get()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many have been counted.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// Everything the cache counts.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "documented at the fields of Stats")]
pub struct Counters {
    pub hits: Counter,
    pub not_found_hits: Counter,
    pub misses: Counter,
    pub stale: Counter,
    pub sets: Counter,
    pub not_stored: Counter,
    pub deletes: Counter,
    pub invalidated: Counter,
    pub expired: Counter,
    pub evicted: Counter,
    pub freed: Counter,
    pub loads: Counter,
    pub load_errors: Counter,
    pub load_nanos: Counter,
    pub joins: Counter,
    pub refused: Counter,
    pub passes: Counter,
    pub failed_passes: Counter,
    pub changes: Counter,
    pub rules: Counter,
}

/// The counts of a cache since it was made, and its size now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads answered from L1. Each read of a key is a hit, a stale answer or a miss.
    pub hits: u64,
    /// Of those, the ones answered with "not found".
    pub not_found_hits: u64,
    /// Reads that L1 could not answer.
    pub misses: u64,
    /// Reads answered past the staleness bound because the database was away. Where that showed only in the load, the read
    /// was a miss before.
    pub stale: u64,
    /// Copies stored.
    pub sets: u64,
    /// Loaded copies that were not stored: something that touches them changed meanwhile, they come from another database
    /// than the one followed, or they are larger than L1.
    pub not_stored: u64,
    /// Entries removed by name.
    pub deletes: u64,
    /// Entries found to be invalid when they were read.
    pub invalidated: u64,
    /// Entries found to be past their time when they were read or purged.
    pub expired: u64,
    /// Entries removed because L1 was full.
    pub evicted: u64,
    /// Entries removed unread because their time had passed.
    pub freed: u64,
    /// Loads from the tier below.
    pub loads: u64,
    /// Of those, the ones that failed.
    pub load_errors: u64,
    /// The time that loads took, together.
    pub load_time: Duration,
    /// Reads that joined a load under way.
    pub joins: u64,
    /// Loads refused because too many were waiting.
    pub refused: u64,
    /// Looks at the change log that succeeded.
    pub passes: u64,
    /// Looks at the change log that failed.
    pub failed_passes: u64,
    /// Changes learned.
    pub changes: u64,
    /// Rules learned.
    pub rules: u64,
    /// Entries in L1, absent keys included.
    pub entries: u64,
    /// Their weight in bytes.
    pub bytes: u64,
}

impl Counters {
    /// Reads every count.
    pub fn read(&self) -> Stats {
        Stats {
            hits: self.hits.get(),
            not_found_hits: self.not_found_hits.get(),
            misses: self.misses.get(),
            stale: self.stale.get(),
            sets: self.sets.get(),
            not_stored: self.not_stored.get(),
            deletes: self.deletes.get(),
            invalidated: self.invalidated.get(),
            expired: self.expired.get(),
            evicted: self.evicted.get(),
            freed: self.freed.get(),
            loads: self.loads.get(),
            load_errors: self.load_errors.get(),
            load_time: Duration::from_nanos(self.load_nanos.get()),
            joins: self.joins.get(),
            refused: self.refused.get(),
            passes: self.passes.get(),
            failed_passes: self.failed_passes.get(),
            changes: self.changes.get(),
            rules: self.rules.get(),
            entries: 0,
            bytes: 0,
        }
    }
}
