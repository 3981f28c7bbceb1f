//! Counts of what happens in the cache.

pub(crate) mod invalidations;
pub(crate) mod latency;

pub use invalidations::{InvalidationCounters, InvalidationCounts, SubjectCounts};
pub use latency::{Latencies, LatencySummary};

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
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
    pub load_latency: Latencies,
    pub joins: Counter,
    pub refreshes: Counter,
    pub prefetched: Counter,
    pub prefetch_hits: Counter,
    pub prefetched_in_vain: Counter,
    pub refused: Counter,
    pub passes: Counter,
    pub failed_passes: Counter,
    pub changes: Counter,
    pub rules: Counter,
    pub l2_hits: Counter,
    pub l2_misses: Counter,
    pub l2_invalid: Counter,
    pub l2_damaged: Counter,
    pub l2_unknown: Counter,
    pub l2_sets: Counter,
    pub l2_commands: Counter,
    pub l2_latency: Latencies,
    pub l2_errors: Counter,
    pub l2_refused: Counter,
    pub l2_timeouts: Counter,
    pub l2_breaks: Counter,
    pub l2_dropped: Counter,
    pub leases_won: Counter,
    pub leases_lost: Counter,
    pub leases_taken: Counter,
    pub bus_messages: Counter,
    pub bus_changes: Counter,
    pub bus_unknown: Counter,
    pub bus_overflows: Counter,
    pub bus_losses: Counter,
    pub talk_unknown: Counter,
    pub talk_late: Counter,
    pub talk_dropped: Counter,
    pub log_known: Counter,
    pub log_new: Counter,
    pub invalidations: InvalidationCounters,
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
    /// Reads that joined a load under way.
    pub joins: u64,
    /// Copies that were to be made anew before their time had passed.
    pub refreshes: u64,
    /// Copies that were loaded before anybody asked for them.
    pub prefetched: u64,
    /// Of those, the ones that somebody then read.
    pub prefetch_hits: u64,
    /// And the ones that went before anybody did.
    pub prefetched_in_vain: u64,
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
    /// Of the reads that L1 could not answer, the ones that L2 answered.
    pub l2_hits: u64,
    /// Those that L2 had nothing for, or nothing that stands.
    pub l2_misses: u64,
    /// Copies in L2 that did not stand, because what touches them was learned or because they are too old to be judged.
    pub l2_invalid: u64,
    /// Copies in L2 that did not check out.
    pub l2_damaged: u64,
    /// Copies in L2 of another release's format.
    pub l2_unknown: u64,
    /// Copies sent to L2.
    pub l2_sets: u64,
    /// Round trips to Redis.
    pub l2_commands: u64,
    /// Lost or refused connections to Redis.
    pub l2_errors: u64,
    /// Commands that Redis refused.
    pub l2_refused: u64,
    /// Commands that Redis did not answer in time.
    pub l2_timeouts: u64,
    /// How often the breaker opened.
    pub l2_breaks: u64,
    /// Copies that were to be written behind and found no room.
    pub l2_dropped: u64,
    /// Rights to load a key for all that this replica got.
    pub leases_won: u64,
    /// Times that another replica had it.
    pub leases_lost: u64,
    /// Rights taken over from a replica that did not use them in time.
    pub leases_taken: u64,
    /// Messages of the bus.
    pub bus_messages: u64,
    /// Changes in them, of other replicas.
    pub bus_changes: u64,
    /// Messages that could not be read.
    pub bus_unknown: u64,
    /// Messages for which there was no room.
    pub bus_overflows: u64,
    /// How often the connection of the bus was lost.
    pub bus_losses: u64,
    /// Words of other replicas, besides changes, that could not be read.
    pub talk_unknown: u64,
    /// Questions of other replicas that were not answered in time.
    pub talk_late: u64,
    /// Questions and answers for which there was no room, being too large or too many.
    pub talk_dropped: u64,
    /// Changes found in the change log that the bus or a write of this replica had brought before.
    pub log_known: u64,
    /// Changes found in the change log that nobody had brought.
    pub log_new: u64,
    /// Changes learned, by who brought them and by what they touch; without those times when everything was dropped because
    /// anything may have changed.
    pub invalidations: InvalidationCounts,
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
            joins: self.joins.get(),
            refreshes: self.refreshes.get(),
            prefetched: self.prefetched.get(),
            prefetch_hits: self.prefetch_hits.get(),
            prefetched_in_vain: self.prefetched_in_vain.get(),
            refused: self.refused.get(),
            passes: self.passes.get(),
            failed_passes: self.failed_passes.get(),
            changes: self.changes.get(),
            rules: self.rules.get(),
            l2_hits: self.l2_hits.get(),
            l2_misses: self.l2_misses.get(),
            l2_invalid: self.l2_invalid.get(),
            l2_damaged: self.l2_damaged.get(),
            l2_unknown: self.l2_unknown.get(),
            l2_sets: self.l2_sets.get(),
            l2_commands: self.l2_commands.get(),
            l2_errors: self.l2_errors.get(),
            l2_refused: self.l2_refused.get(),
            l2_timeouts: self.l2_timeouts.get(),
            l2_breaks: self.l2_breaks.get(),
            l2_dropped: self.l2_dropped.get(),
            leases_won: self.leases_won.get(),
            leases_lost: self.leases_lost.get(),
            leases_taken: self.leases_taken.get(),
            bus_messages: self.bus_messages.get(),
            bus_changes: self.bus_changes.get(),
            bus_unknown: self.bus_unknown.get(),
            bus_overflows: self.bus_overflows.get(),
            bus_losses: self.bus_losses.get(),
            talk_unknown: self.talk_unknown.get(),
            talk_late: self.talk_late.get(),
            talk_dropped: self.talk_dropped.get(),
            log_known: self.log_known.get(),
            log_new: self.log_new.get(),
            invalidations: self.invalidations.read(),
            entries: 0,
            bytes: 0,
        }
    }
}
