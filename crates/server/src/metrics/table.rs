//! The table of all metrics: those of the cache, and those of the server itself.

use larder_cache::{BUS_METRICS, CHANGE_METRICS, L2_METRICS, LOAD_METRICS, Label, Metric, TIER_METRICS, Unit};

/// Metrics that belong together.
pub(super) struct Section {
    /// What they have in common.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the documentation has titles"))]
    pub(super) title: &'static str,
    pub(super) metrics: &'static [&'static Metric],
}

/// Every metric, in the order in which they are shown.
pub(super) const SECTIONS: [Section; 11] = [
    Section { title: "Calls", metrics: &[&CALL_DURATION, &CALLS_IN_FLIGHT] },
    Section { title: "Access", metrics: &[&CALLS_REFUSED, &AUDIT_LOST, &TLS_HANDSHAKES] },
    Section { title: "Tiers", metrics: TIER_METRICS },
    Section { title: "Loads", metrics: LOAD_METRICS },
    Section { title: "L2", metrics: L2_METRICS },
    Section { title: "Redis, by its own account", metrics: &REDIS_METRICS },
    Section { title: "Database", metrics: &[&CONNECTIONS, &MAX_CONNECTIONS, &CHANGELOG_ROWS] },
    Section { title: "Changes", metrics: CHANGE_METRICS },
    Section { title: "Bus", metrics: BUS_METRICS },
    Section { title: "Events of other systems", metrics: &[&WEBHOOK_EVENTS, &QUEUE_EVENTS] },
    Section {
        title: "Process",
        metrics: &[
            &READY,
            &BUILD_INFO,
            &TELEMETRY_DROPPED,
            &RUNTIME_WORKERS,
            &RUNTIME_ALIVE_TASKS,
            &RUNTIME_QUEUE_DEPTH,
            &PROCESS_CPU,
            &PROCESS_RESIDENT_MEMORY,
            &PROCESS_VIRTUAL_MEMORY,
            &PROCESS_OPEN_FDS,
            &PROCESS_MAX_FDS,
            &PROCESS_THREADS,
            &PROCESS_START_TIME,
        ],
    },
];

const POOL: Label = Label::new("db_client_connection_pool_name", &[]);

pub(super) static CALL_DURATION: Metric = Metric::histogram(
    "rpc_server_call_duration",
    "How long calls took, by method (_OTHER for unknown ones) and status code (OK, NOT_FOUND). A stream counts when it ends",
)
.by(&[
    Label::new("rpc_system_name", &["grpc"]),
    Label::new("rpc_method", &[]),
    Label::new("rpc_response_status_code", &[]),
]);
pub(super) static CALLS_IN_FLIGHT: Metric = Metric::gauge("larder_calls_in_flight", "Calls in progress");

pub(super) static CALLS_REFUSED: Metric = Metric::counter(
    "larder_calls_refused",
    "Calls that were refused: for want of a credential or of a role, over gRPC and HTTP (the audit log names some of them), or \
     because too many were in progress or their caller made too many",
)
.by(&[Label::new("reason", &["unauthenticated", "permission_denied", "too_many_calls", "rate_limited"])]);
pub(super) static AUDIT_LOST: Metric = Metric::counter(
    "larder_audit_records_lost",
    "Audit records that did not reach their file, as on a full disk; without `audit.file` they go to the log",
);
pub(super) static TLS_HANDSHAKES: Metric = Metric::counter("larder_tls_handshakes", "TLS handshakes of clients")
    .by(&[Label::new("outcome", &["done", "failed"])]);

/// What Redis says of itself. Its counters begin with Redis.
pub(super) const REDIS_METRICS: [&Metric; 9] = [
    &REDIS_MEMORY,
    &REDIS_MAX_MEMORY,
    &REDIS_CLIENTS,
    &REDIS_KEYS,
    &REDIS_COMMANDS,
    &REDIS_KEYSPACE_HITS,
    &REDIS_KEYSPACE_MISSES,
    &REDIS_EVICTED_KEYS,
    &REDIS_EXPIRED_KEYS,
];

pub(super) static REDIS_MEMORY: Metric = Metric::gauge("larder_redis_memory", 
    "Memory that Redis uses. Like the figures below it comes from INFO, which is sent at most every five seconds. Only with Redis",
)
    .in_unit(Unit::Bytes);
pub(super) static REDIS_MAX_MEMORY: Metric =
    Metric::gauge("larder_redis_max_memory", "Memory that Redis may use; 0 without a limit").in_unit(Unit::Bytes);
pub(super) static REDIS_CLIENTS: Metric = Metric::gauge("larder_redis_clients", "Connected clients");
pub(super) static REDIS_KEYS: Metric = Metric::gauge("larder_redis_keys", "Keys in all databases of the server");
pub(super) static REDIS_COMMANDS: Metric =
    Metric::counter("larder_redis_commands", "Commands of all clients since Redis started");
pub(super) static REDIS_KEYSPACE_HITS: Metric =
    Metric::counter("larder_redis_keyspace_hits", "Keys that a command of any client looked for and found");
pub(super) static REDIS_KEYSPACE_MISSES: Metric =
    Metric::counter("larder_redis_keyspace_misses", "Keys that a command of any client looked for in vain");
pub(super) static REDIS_EVICTED_KEYS: Metric =
    Metric::counter("larder_redis_evicted_keys", "Keys that Redis evicted for lack of memory");
pub(super) static REDIS_EXPIRED_KEYS: Metric = Metric::counter("larder_redis_expired_keys", "Keys that expired");

pub(super) static CONNECTIONS: Metric = Metric::gauge("db_client_connections", "Connections to the database")
    .by(&[POOL, Label::new("db_client_connection_state", &["idle", "used"])]);
pub(super) static MAX_CONNECTIONS: Metric =
    Metric::gauge("db_client_connection_max", "Connections that there may be").by(&[POOL]);
pub(super) static CHANGELOG_ROWS: Metric =
    Metric::gauge("larder_changelog_rows", "Rows in the change log, counted each time it is pruned");

pub(super) static WEBHOOK_EVENTS: Metric = Metric::counter(
    "larder_webhook_events",
    "Webhooks by what became of them. A failed one was not written down, and its sender tries again",
)
.by(&[Label::new("outcome", &["accepted", "repeated", "refused", "failed"])]);
pub(super) static QUEUE_EVENTS: Metric = Metric::counter(
    "larder_queue_events",
    "Entries of the queue that were dealt with: their rows are committed, or they were put aside",
)
.by(&[Label::new("outcome", &["accepted", "buried"])]);

pub(super) static READY: Metric = Metric::gauge("larder_ready", "1 while the replica is ready to serve");
pub(super) static TELEMETRY_DROPPED: Metric = Metric::counter(
    "larder_telemetry_dropped",
    "Spans and points of metrics that were not exported, because the queue was full or the receiver did not take them",
)
.by(&[Label::new("signal", &["traces", "metrics"])]);
pub(super) static BUILD_INFO: Metric =
    Metric::gauge("larder_build_info", "Always 1; tells the release").by(&[Label::new("version", &[VERSION])]);
pub(super) static RUNTIME_WORKERS: Metric =
    Metric::gauge("larder_runtime_workers", "Threads of the runtime of loads and writes");
pub(super) static RUNTIME_ALIVE_TASKS: Metric = Metric::gauge("larder_runtime_alive_tasks", "Tasks on that runtime");
pub(super) static RUNTIME_QUEUE_DEPTH: Metric =
    Metric::gauge("larder_runtime_global_queue_depth", "Tasks that wait for one of its threads");
pub(super) static PROCESS_CPU: Metric =
    Metric::counter("process_cpu", "CPU time, user and system").in_unit(Unit::Seconds);
pub(super) static PROCESS_RESIDENT_MEMORY: Metric =
    Metric::gauge("process_resident_memory", "Resident memory").in_unit(Unit::Bytes);
pub(super) static PROCESS_VIRTUAL_MEMORY: Metric =
    Metric::gauge("process_virtual_memory", "Virtual memory").in_unit(Unit::Bytes);
pub(super) static PROCESS_OPEN_FDS: Metric = Metric::gauge("process_open_fds", "Open file descriptors");
pub(super) static PROCESS_MAX_FDS: Metric = Metric::gauge("process_max_fds", "File descriptors that may be open");
pub(super) static PROCESS_THREADS: Metric = Metric::gauge("process_threads", "Threads");
pub(super) static PROCESS_START_TIME: Metric =
    Metric::gauge("process_start_time", "When the process started, since 1970").in_unit(Unit::Seconds);

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
