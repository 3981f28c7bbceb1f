//! The figures of the cache: counters of everything that happens in it, and what each is called outside.
//!
//! Each counter stands once, in the table below, with the series of the [metric](metrics) that it is. [`Stats`], the statistics of
//! `CacheAdmin` and the metrics of the server all follow from that table.

mod counter;
mod invalidations;
mod latency;
mod learned;
mod metric;
pub(crate) mod metrics;

pub(crate) use counter::Counter;
pub use invalidations::{InvalidationCounts, SubjectCounts};
pub(crate) use invalidations::{Source, SubjectKind};
pub use latency::LatencySummary;
pub(crate) use latency::LoadOutcome;
pub use learned::CommitToLearned;
pub use metric::{BOUNDS, Distribution, Exemplar, Kind, Label, Metric, Reading, Sample, Unit};

use self::{
    invalidations::InvalidationCounters,
    latency::{Latencies, LoadLatencies},
};

/// Declares the counters: a field, what it counts, and the series that it is outside. Counters of one series add up.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident => $metric:ident[$($label:literal),*];)*) => {
        /// The counters behind [`Stats`], and the latencies.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $field: Counter,)*
            pub(crate) load_latency: LoadLatencies,
            pub(crate) l2_latency: Latencies,
            /// From the commit of a change to its arrival over the bus.
            pub(crate) bus_delay: Latencies,
            /// From the commit of a change to the pass that first brought it.
            pub(crate) log_delay: Latencies,
            pub(crate) invalidations: InvalidationCounters,
        }

        /// The counts of a cache since its creation, and its current size.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $field: u64,)*
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
                    $($field: self.$field.get(),)*
                    invalidations: self.invalidations.read(),
                    entries: 0,
                    bytes: 0,
                }
            }
        }

        impl Stats {
            /// Every count as a sample of its metric.
            pub(crate) fn samples(&self) -> Vec<Sample> {
                let mut samples = vec![$(metrics::$metric.count([$($label),*], self.$field)),*];
                samples.extend(self.invalidations.samples());
                samples
            }
        }
    };
}

counters! {
    /// Reads answered from L1. Every read of a key is a hit, a stale answer or a miss.
    hits => CACHE_READS["l1", "hit"];
    /// The hits answered with "not found".
    not_found_hits => CACHE_NOT_FOUND_HITS["l1"];
    /// Reads that L1 could not answer.
    misses => CACHE_READS["l1", "miss"];
    /// Reads answered past the staleness bound because the database was unavailable. A read whose load failed also counts as a
    /// miss.
    stale => CACHE_READS["l1", "stale"];
    /// Copies stored.
    sets => CACHE_SETS["l1"];
    /// Loaded copies that were not stored: a change touched the copy meanwhile, the copy comes from a database other than the
    /// followed one, or the copy is larger than L1.
    not_stored => CACHE_NOT_STORED["l1"];
    /// Entries removed by name.
    deletes => CACHE_DELETES["l1"];
    /// Entries found invalid by a read.
    invalidated => CACHE_EVICTIONS["l1", "invalidated"];
    /// Entries found expired by a read or a purge.
    expired => CACHE_EVICTIONS["l1", "expired"];
    /// Entries evicted because L1 was full.
    evicted => CACHE_EVICTIONS["l1", "capacity"];
    /// Expired entries that L1 removed by itself.
    freed => CACHE_EVICTIONS["l1", "expired"];
    /// Loads from the tier below.
    loads => LOADS[];
    /// Loads that failed.
    load_errors => LOAD_ERRORS[];
    /// Reads that joined a load in flight.
    joins => JOINS[];
    /// Copies that were refreshed before they expired.
    refreshes => REFRESHES[];
    /// Copies that were prefetched.
    prefetched => PREFETCHES[];
    /// Prefetched copies that a reader then used.
    prefetch_hits => PREFETCHED_COPIES["used"];
    /// Prefetched copies that left L1 unread.
    prefetched_in_vain => PREFETCHED_COPIES["unused"];
    /// Loads refused because too many were waiting.
    refused => LOADS_REFUSED[];
    /// Loads given up because nobody waited for them any more.
    abandoned => LOADS_ABANDONED[];
    /// Passes over the change log that succeeded.
    passes => PASSES["ok"];
    /// Passes over the change log that failed.
    failed_passes => PASSES["error"];
    /// Changes applied.
    changes => CHANGES_APPLIED[];
    /// Rules applied.
    rules => RULES_APPLIED[];
    /// Keys that L1 could not answer and L2 did.
    l2_hits => CACHE_READS["l2", "hit"];
    /// Keys for which L2 had no valid copy.
    l2_misses => CACHE_READS["l2", "miss"];
    /// Copies in L2 that were invalid: a change touched the copy, or the copy is too old to be judged.
    l2_invalid => L2_REJECTED["invalid"];
    /// Copies in L2 with a wrong checksum or damaged contents.
    l2_damaged => L2_REJECTED["damaged"];
    /// Copies in L2 in the format of another release.
    l2_unknown => L2_REJECTED["unknown"];
    /// Copies in L2 that no key of this replica closed.
    l2_unsigned => L2_REJECTED["unsigned"];
    /// Copies sent to L2.
    l2_sets => CACHE_SETS["l2"];
    /// Round trips to Redis.
    l2_commands => L2_COMMANDS[];
    /// Lost or refused connections to Redis.
    l2_errors => L2_ERRORS["connection"];
    /// Commands that Redis refused.
    l2_refused => L2_ERRORS["refused"];
    /// Commands that timed out.
    l2_timeouts => L2_ERRORS["timeout"];
    /// How often the breaker opened.
    l2_breaks => L2_BREAKER_OPENED[];
    /// Copies that found no room in the write-behind queue.
    l2_dropped => L2_DROPPED[];
    /// Leases that this replica won.
    leases_won => LEASES["won"];
    /// Leases that another replica held.
    leases_lost => LEASES["lost"];
    /// Leases taken over from a replica that did not load in time.
    leases_taken => LEASES["taken"];
    /// Messages received from the bus.
    bus_messages => BUS_MESSAGES[];
    /// Changes of other replicas in those messages.
    bus_changes => BUS_CHANGES[];
    /// Messages that could not be decoded.
    bus_unknown => BUS_UNDECODABLE[];
    /// Messages for which the queue had no room.
    bus_overflows => BUS_OVERFLOWS[];
    /// How often the connection of the bus was lost.
    bus_losses => BUS_DISCONNECTS[];
    /// Peer messages that could not be decoded.
    peer_unknown => PEER_UNDECODABLE[];
    /// Questions of peers that were not answered in time.
    peer_late => PEER_UNANSWERED[];
    /// Questions and answers that were dropped because they were too large or too many.
    peer_dropped => PEER_DROPPED[];
    /// Changes found in the change log that the bus or a write of this replica had brought already.
    log_known => CHANGELOG_CHANGES["other"];
    /// Changes that the change log brought first.
    log_new => CHANGELOG_CHANGES["log"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_label_has_a_value_that_its_metric_names() {
        let samples = Stats::default().samples();
        for Sample { metric, labels, .. } in &samples {
            for (label, value) in metric.labels.iter().zip(labels) {
                assert!(label.values.contains(value), "{}: {} is {value}", metric.name, label.name);
            }
        }
        let invalidations = samples.iter().filter(|sample| sample.metric.name == metrics::INVALIDATIONS.name);
        let series: BTreeSet<_> = invalidations.map(|sample| &sample.labels).collect();
        assert_eq!(series.len(), 18, "three sources, six subjects");
    }
}
