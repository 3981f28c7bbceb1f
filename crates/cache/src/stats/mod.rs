//! Counters of everything that happens in the cache.

mod invalidations;
mod latency;
mod learned;

pub(crate) use invalidations::Source;
pub use invalidations::{InvalidationCounts, SubjectCounts};

pub use latency::LatencySummary;
pub(crate) use learned::LearnedLatencies;
pub use learned::{ChangeSource, CommitToLearned};

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use self::{invalidations::InvalidationCounters, latency::Latencies};

/// A counter that many threads increment without contention.
#[derive(Debug, Default)]
pub(crate) struct Counter([Shard; SHARDS]);

const SHARDS: usize = 16;

/// A counter on its own cache line, so that two counting threads do not bounce one line between cores.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl Counter {
    /// Adds one.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0[SHARD.get()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// The counters behind [`Stats`], and the latencies.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) not_found_hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stale: Counter,
    pub(crate) sets: Counter,
    pub(crate) not_stored: Counter,
    pub(crate) deletes: Counter,
    pub(crate) invalidated: Counter,
    pub(crate) expired: Counter,
    pub(crate) evicted: Counter,
    pub(crate) freed: Counter,
    pub(crate) loads: Counter,
    pub(crate) load_errors: Counter,
    pub(crate) load_latency: Latencies,
    pub(crate) joins: Counter,
    pub(crate) refreshes: Counter,
    pub(crate) prefetched: Counter,
    pub(crate) prefetch_hits: Counter,
    pub(crate) prefetched_in_vain: Counter,
    pub(crate) refused: Counter,
    pub(crate) passes: Counter,
    pub(crate) failed_passes: Counter,
    pub(crate) changes: Counter,
    pub(crate) rules: Counter,
    pub(crate) l2_hits: Counter,
    pub(crate) l2_misses: Counter,
    pub(crate) l2_invalid: Counter,
    pub(crate) l2_damaged: Counter,
    pub(crate) l2_unknown: Counter,
    pub(crate) l2_sets: Counter,
    pub(crate) l2_commands: Counter,
    pub(crate) l2_latency: Latencies,
    pub(crate) l2_errors: Counter,
    pub(crate) l2_refused: Counter,
    pub(crate) l2_timeouts: Counter,
    pub(crate) l2_breaks: Counter,
    pub(crate) l2_dropped: Counter,
    pub(crate) leases_won: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) leases_taken: Counter,
    pub(crate) bus_messages: Counter,
    pub(crate) bus_changes: Counter,
    pub(crate) bus_unknown: Counter,
    pub(crate) bus_overflows: Counter,
    pub(crate) bus_losses: Counter,
    pub(crate) peer_unknown: Counter,
    pub(crate) peer_late: Counter,
    pub(crate) peer_dropped: Counter,
    pub(crate) log_known: Counter,
    pub(crate) log_new: Counter,
    pub(crate) invalidations: InvalidationCounters,
}

/// The counts of a cache since its creation, and its current size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads answered from L1. Every read of a key is a hit, a stale answer or a miss.
    pub hits: u64,
    /// The hits answered with "not found".
    pub not_found_hits: u64,
    /// Reads that L1 could not answer.
    pub misses: u64,
    /// Reads answered past the staleness bound because the database was unavailable. A read whose load failed also counts as a
    /// miss.
    pub stale: u64,
    /// Copies stored.
    pub sets: u64,
    /// Loaded copies that were not stored: a change touched the copy meanwhile, the copy comes from a database other than the
    /// followed one, or the copy is larger than L1.
    pub not_stored: u64,
    /// Entries removed by name.
    pub deletes: u64,
    /// Entries found invalid by a read.
    pub invalidated: u64,
    /// Entries found expired by a read or a purge.
    pub expired: u64,
    /// Entries evicted because L1 was full.
    pub evicted: u64,
    /// Expired entries that L1 removed by itself.
    pub freed: u64,
    /// Loads from the tier below.
    pub loads: u64,
    /// Loads that failed.
    pub load_errors: u64,
    /// Reads that joined a load in flight.
    pub joins: u64,
    /// Copies that were refreshed before they expired.
    pub refreshes: u64,
    /// Copies that were prefetched.
    pub prefetched: u64,
    /// Prefetched copies that a reader then used.
    pub prefetch_hits: u64,
    /// Prefetched copies that left L1 unread.
    pub prefetched_in_vain: u64,
    /// Loads refused because too many were waiting.
    pub refused: u64,
    /// Passes over the change log that succeeded.
    pub passes: u64,
    /// Passes over the change log that failed.
    pub failed_passes: u64,
    /// Changes applied.
    pub changes: u64,
    /// Rules applied.
    pub rules: u64,
    /// Keys that L1 could not answer and L2 did.
    pub l2_hits: u64,
    /// Keys for which L2 had no valid copy.
    pub l2_misses: u64,
    /// Copies in L2 that were invalid: a change touched the copy, or the copy is too old to be judged.
    pub l2_invalid: u64,
    /// Copies in L2 with a wrong checksum or damaged contents.
    pub l2_damaged: u64,
    /// Copies in L2 in the format of another release.
    pub l2_unknown: u64,
    /// Copies sent to L2.
    pub l2_sets: u64,
    /// Round trips to Redis.
    pub l2_commands: u64,
    /// Lost or refused connections to Redis.
    pub l2_errors: u64,
    /// Commands that Redis refused.
    pub l2_refused: u64,
    /// Commands that timed out.
    pub l2_timeouts: u64,
    /// How often the breaker opened.
    pub l2_breaks: u64,
    /// Copies that found no room in the write-behind queue.
    pub l2_dropped: u64,
    /// Leases that this replica won.
    pub leases_won: u64,
    /// Leases that another replica held.
    pub leases_lost: u64,
    /// Leases taken over from a replica that did not load in time.
    pub leases_taken: u64,
    /// Messages received from the bus.
    pub bus_messages: u64,
    /// Changes of other replicas in those messages.
    pub bus_changes: u64,
    /// Messages that could not be decoded.
    pub bus_unknown: u64,
    /// Messages for which the queue had no room.
    pub bus_overflows: u64,
    /// How often the connection of the bus was lost.
    pub bus_losses: u64,
    /// Peer messages that could not be decoded.
    pub peer_unknown: u64,
    /// Questions of peers that were not answered in time.
    pub peer_late: u64,
    /// Questions and answers that were dropped because they were too large or too many.
    pub peer_dropped: u64,
    /// Changes found in the change log that the bus or a write of this replica had brought already.
    pub log_known: u64,
    /// Changes that the change log brought first.
    pub log_new: u64,
    /// Changes applied, by source and by subject. Does not count dropping every copy because anything may have changed.
    pub invalidations: InvalidationCounts,
    /// Entries in L1, including absent keys.
    pub entries: u64,
    /// The weight of those entries in bytes.
    pub bytes: u64,
}

impl Counters {
    /// Reads every count. The sizes are zero: L1 knows them.
    pub(crate) fn read(&self) -> Stats {
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
            peer_unknown: self.peer_unknown.get(),
            peer_late: self.peer_late.get(),
            peer_dropped: self.peer_dropped.get(),
            log_known: self.log_known.get(),
            log_new: self.log_new.get(),
            invalidations: self.invalidations.read(),
            entries: 0,
            bytes: 0,
        }
    }
}
