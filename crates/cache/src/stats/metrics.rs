//! The metrics of the cache, by name.

use super::metric::{Label, Metric, Unit};

const TIER: Label = Label::new("tier", &["l1", "l2"]);
const L1: Label = Label::new("tier", &["l1"]);
const SOURCE: Label = Label::new("source", &["own", "bus", "log"]);
const SUBJECT: Label = Label::new("subject", &["entry", "key", "tag", "category", "pattern", "all"]);

macro_rules! metrics {
    ($($section:ident { $($name:ident = $metric:expr;)* })*) => {
        $($(pub(crate) static $name: Metric = $metric;)*)*
        $(
            /// The metrics of one part of the cache, in the order of their documentation.
            pub static $section: &[&Metric] = &[$(&$name),*];
        )*
    };
}

metrics! {
    TIER_METRICS {
        CACHE_READS = Metric::counter(
            "larder_cache_reads",
            "Keys that a tier was asked for. Every read of L1 is a hit, a stale answer or a miss; L2 is asked only for what L1 misses",
        )
        .by(&[TIER, Label::new("result", &["hit", "miss", "stale"])]);
        CACHE_NOT_FOUND_HITS =
            Metric::counter("larder_cache_not_found_hits", "Hits that say that there is no such product").by(&[L1]);
        CACHE_SETS = Metric::counter("larder_cache_sets", "Copies stored").by(&[TIER]);
        CACHE_NOT_STORED = Metric::counter(
            "larder_cache_not_stored",
            "Loaded copies that were not stored, mostly because a change touched them meanwhile",
        )
        .by(&[L1]);
        CACHE_DELETES = Metric::counter("larder_cache_deletes", "Copies removed by key").by(&[L1]);
        CACHE_EVICTIONS = Metric::counter(
            "larder_cache_evictions",
            "Copies that may not be served any more: there was no room, they expired, or a read found them invalid",
        )
        .by(&[L1, Label::new("cause", &["capacity", "expired", "invalidated"])]);
        CACHE_ENTRIES = Metric::gauge("larder_cache_entries", "Copies held, with those of absent products").by(&[L1]);
        CACHE_SIZE = Metric::gauge("larder_cache_size", "Bytes that the copies take").by(&[L1]).in_unit(Unit::Bytes);
        CACHE_CAPACITY =
            Metric::gauge("larder_cache_capacity", "Bytes that the copies may take").by(&[L1]).in_unit(Unit::Bytes);
        CACHE_CAPACITY_ENTRIES = Metric::gauge("larder_cache_capacity_entries", "Copies that may be held").by(&[L1]);
    }
    LOAD_METRICS {
        LOAD_DURATION = Metric::histogram(
            "larder_load_duration",
            "How long loads from the database took. not_found: none of the keys of the load has a value",
        )
        .by(&[Label::new("outcome", &["ok", "not_found", "error"])]);
        LOADS = Metric::counter("larder_loads", "Loads begun");
        LOAD_ERRORS = Metric::counter("larder_load_errors", "Loads that failed");
        LOADS_REFUSED = Metric::counter("larder_loads_refused", "Loads refused because too many were waiting");
        LOADS_ABANDONED = Metric::counter(
            "larder_loads_abandoned",
            "Loads given up because every reader had gone: not begun, or ended under way",
        );
        JOINS = Metric::counter("larder_single_flight_joins", "Reads that joined a load in flight");
        LEASES = Metric::counter(
            "larder_leases",
            "Leases that this replica won, that another held, and that this replica took over from one that did not load in time",
        )
        .by(&[Label::new("outcome", &["won", "lost", "taken"])]);
        REFRESHES = Metric::counter("larder_refreshes", "Copies refreshed before they expired");
        PREFETCHES = Metric::counter("larder_prefetches", "Copies loaded before anybody asked for them");
        PREFETCHED_COPIES = Metric::counter(
            "larder_prefetched_copies",
            "Prefetched copies that a reader used, and that left L1 unread",
        )
        .by(&[Label::new("outcome", &["used", "unused"])]);
    }
    L2_METRICS {
        L2_DURATION = Metric::histogram("db_client_operation_duration", "How long round trips to Redis took")
            .by(&[Label::new("db_system_name", &["redis"])]);
        L2_COMMANDS = Metric::counter("larder_l2_commands", "Round trips to Redis");
        L2_REJECTED = Metric::counter(
            "larder_l2_rejected_copies",
            "Copies in L2 that were not served: touched by a change or too old to be judged, damaged, in the format of another release, or not closed by a known key",
        )
        .by(&[Label::new("reason", &["invalid", "damaged", "unknown", "unsigned"])]);
        L2_ERRORS = Metric::counter(
            "larder_l2_errors",
            "Connections lost or refused, commands that Redis refused, commands that timed out",
        )
        .by(&[Label::new("kind", &["connection", "refused", "timeout"])]);
        L2_BREAKER_OPENED = Metric::counter("larder_l2_breaker_opened", "How often the breaker before Redis opened");
        L2_BREAKER_OPEN = Metric::gauge("larder_l2_breaker_open", "1 while the breaker is open. Only with Redis");
        L2_DROPPED = Metric::counter(
            "larder_l2_write_behind_dropped",
            "Copies that found no room in the write-behind queue",
        );
    }
    CHANGE_METRICS {
        INVALIDATIONS = Metric::counter(
            "larder_invalidations",
            "Changes applied, each counted once, for the source that brought it first",
        )
        .by(&[SOURCE, SUBJECT]);
        CHANGES_APPLIED = Metric::counter("larder_changes_applied", "Changes applied, repeated ones included");
        RULES_APPLIED = Metric::counter(
            "larder_rules_applied",
            "Rules applied: invalidations of tags, categories, patterns and everything",
        );
        COMMIT_TO_LEARNED = Metric::histogram(
            "larder_commit_to_learned",
            "From the commit of a change to this replica's learning of it: the staleness that a user could see",
        )
        .by(&[Label::new("source", &["bus", "log"])]);
        PASSES = Metric::counter("larder_changelog_passes", "Passes over the change log")
            .by(&[Label::new("outcome", &["ok", "error"])]);
        PASS_AGE = Metric::gauge(
            "larder_changelog_pass_age",
            "Time since the last successful pass began. +Inf before the first",
        )
        .in_unit(Unit::Seconds);
        STALENESS_BOUND =
            Metric::gauge("larder_staleness_bound", "The configured staleness bound").in_unit(Unit::Seconds);
        IN_SYNC = Metric::gauge(
            "larder_replica_in_sync",
            "1 while the last pass is within the staleness bound and the change log is complete",
        );
        CHANGELOG_CHANGES = Metric::counter(
            "larder_changelog_changes",
            "Changes found in the change log: those that it brought first, and those that the bus or an own write had brought before. \
             The share of log is what the bus missed",
        )
        .by(&[Label::new("first_source", &["log", "other"])]);
    }
    BUS_METRICS {
        BUS_UP = Metric::gauge("larder_bus_up", "1 while the replica receives messages. Only with Redis");
        PEERS = Metric::gauge("larder_peers", "Other replicas known over the bus. Only with Redis");
        BUS_LAG = Metric::gauge(
            "larder_bus_lag",
            "From sending the last message to applying it, by the clocks of both replicas. Only with Redis",
        )
        .in_unit(Unit::Seconds);
        BUS_MESSAGES = Metric::counter("larder_bus_messages", "Messages received");
        BUS_CHANGES = Metric::counter("larder_bus_changes", "Changes of other replicas in these messages");
        BUS_UNDECODABLE = Metric::counter("larder_bus_undecodable", "Messages that could not be decoded");
        BUS_OVERFLOWS = Metric::counter("larder_bus_overflows", "Messages for which the queue had no room");
        BUS_DISCONNECTS = Metric::counter("larder_bus_disconnects", "How often the connection was lost");
        PEER_UNDECODABLE = Metric::counter("larder_peer_undecodable", "Messages of peers that could not be decoded");
        PEER_UNANSWERED =
            Metric::counter("larder_peer_unanswered", "Questions of peers that were not answered in time");
        PEER_DROPPED = Metric::counter(
            "larder_peer_dropped",
            "Questions and answers dropped because they were too large or too many",
        );
    }
}
