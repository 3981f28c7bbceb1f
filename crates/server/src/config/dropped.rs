//! Names that were settings in earlier releases, and what replaced each.

/// The fields of a policy, which had a flag and a variable of their own.
macro_rules! policy {
    ($kind:literal, $variable:literal) => {
        &[
            policy!("levels", "LEVELS", $kind, $variable),
            policy!("ttl", "TTL", $kind, $variable),
            policy!("l2-ttl", "L2_TTL", $kind, $variable),
            policy!("jitter", "JITTER", $kind, $variable),
            policy!("idle", "IDLE", $kind, $variable),
            policy!("early-refresh", "EARLY_REFRESH", $kind, $variable),
            policy!("refresh-after", "REFRESH_AFTER", $kind, $variable),
            policy!("max-stale", "MAX_STALE", $kind, $variable),
            policy!("max-bytes", "MAX_BYTES", $kind, $variable),
            policy!("compress-from", "COMPRESS_FROM", $kind, $variable),
        ]
    };
    ($field:literal, $name:literal, $kind:literal, $variable:literal) => {
        Dropped {
            key: concat!($field, "-", $kind),
            env: concat!("LARDER_", $name, "_", $variable),
            instead: concat!(
                "write ",
                $field,
                " in [policy.",
                $kind,
                "] of the file, or set LARDER_POLICY__",
                $variable,
                "__",
                $name
            ),
        }
    };
}
/// A name that is no setting any more. It is an error wherever it is given: as a flag, as a variable or in the file.
#[derive(Debug, Clone, Copy)]
pub struct Dropped {
    /// The flag without its dashes, and the key in the file.
    pub key: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What replaced it, and what to do.
    pub instead: &'static str,
}

impl Dropped {
    /// What is wrong with using the name.
    pub const REASON: &str = "no setting of this release has this name";

    /// Finds a name, as it stands behind `--` or in the file.
    pub fn by_key(key: &str) -> Option<&'static Self> {
        let key = key.replace('.', "-");
        DROPPED.iter().copied().flatten().find(|dropped| dropped.key == key)
    }

    /// Finds a variable.
    pub(crate) fn by_variable(name: &str) -> Option<&'static Self> {
        DROPPED.iter().copied().flatten().find(|dropped| dropped.env == name)
    }
}

/// Every dropped name.
pub(crate) const DROPPED: &[&[Dropped]] = &[
    CONSTANTS,
    policy!("item", "ITEM"),
    policy!("list", "LIST"),
    policy!("search", "SEARCH"),
    policy!("not-found", "NOT_FOUND"),
];

/// Settings that are constants now.
pub(super) const CONSTANTS: &[Dropped] = &[
    Dropped {
        key: "database-acquire-timeout",
        env: "LARDER_DATABASE_ACQUIRE_TIMEOUT",
        instead: "a statement always waits 5s for a connection; leave the name out, or set database-connections",
    },
    Dropped {
        key: "database-idle-timeout",
        env: "LARDER_DATABASE_IDLE_TIMEOUT",
        instead: "an idle connection is always kept for 10m; leave the name out",
    },
    Dropped {
        key: "database-max-lifetime",
        env: "LARDER_DATABASE_MAX_LIFETIME",
        instead: "a connection is always replaced after 30m; leave the name out",
    },
    Dropped {
        key: "not-found-entries",
        env: "LARDER_NOT_FOUND_ENTRIES",
        instead: "10000 absent ids are always remembered; leave the name out, or write levels = \"none\" in [policy.not-found] to \
                  remember none",
    },
    Dropped {
        key: "max-waiting-loads",
        env: "LARDER_MAX_WAITING_LOADS",
        instead: "4096 loads may always wait; leave the name out, or set max-loads",
    },
    Dropped {
        key: "max-changes-per-pass",
        env: "LARDER_MAX_CHANGES_PER_PASS",
        instead: "the limit is always 10000; leave the name out",
    },
    Dropped {
        key: "warm-timeout",
        env: "LARDER_WARM_TIMEOUT",
        instead: "warming always ends after 5s; leave the name out, or set warm-on-start",
    },
    Dropped {
        key: "l2-connections",
        env: "LARDER_L2_CONNECTIONS",
        instead: "there are always 2 connections; leave the name out",
    },
    Dropped {
        key: "l2-connect-timeout",
        env: "LARDER_L2_CONNECT_TIMEOUT",
        instead: "the limit is always 1s; leave the name out",
    },
    Dropped { key: "l2-lease", env: "LARDER_L2_LEASE", instead: "a lease always lasts 3s; leave the name out" },
    Dropped {
        key: "l2-max-payload",
        env: "LARDER_L2_MAX_PAYLOAD",
        instead: "the limit is always 1MiB; leave the name out, or write a lower max-bytes in [policy.item], [policy.list] or \
                  [policy.search] of the file",
    },
    Dropped { key: "bus-queue", env: "LARDER_BUS_QUEUE", instead: "4096 messages may always wait; leave the name out" },
    Dropped {
        key: "l2-remembered",
        env: "LARDER_L2_REMEMBERED",
        instead: "200000 changes are always remembered; leave the name out",
    },
    Dropped {
        key: "webhook-tolerance",
        env: "LARDER_WEBHOOK_TOLERANCE",
        instead: "the tolerance is always 5m; leave the name out",
    },
    Dropped {
        key: "queue-group",
        env: "LARDER_QUEUE_GROUP",
        instead: "the consumer group is named like the keys in Redis; set l2-prefix (LARDER_L2_PREFIX)",
    },
    Dropped {
        key: "queue-max-deliveries",
        env: "LARDER_QUEUE_MAX_DELIVERIES",
        instead: "the limit is always 10; leave the name out",
    },
    Dropped {
        key: "max-response-bytes",
        env: "LARDER_MAX_RESPONSE_BYTES",
        instead: "the limit is always 64MiB; leave the name out",
    },
    Dropped {
        key: "max-header-bytes",
        env: "LARDER_MAX_HEADER_BYTES",
        instead: "the limit is always 16KiB; leave the name out",
    },
    Dropped {
        key: "max-concurrent-streams",
        env: "LARDER_MAX_CONCURRENT_STREAMS",
        instead: "the limit is always 256 for each connection; leave the name out",
    },
    Dropped {
        key: "watch-backlog",
        env: "LARDER_WATCH_BACKLOG",
        instead: "50000 changes are always kept; leave the name out",
    },
    Dropped {
        key: "default-deadline",
        env: "LARDER_DEFAULT_DEADLINE",
        instead: "it is always 30s; leave the name out, or set a lower max-deadline (LARDER_MAX_DEADLINE)",
    },
    Dropped {
        key: "keepalive-interval",
        env: "LARDER_KEEPALIVE_INTERVAL",
        instead: "idle connections are always pinged after 1m; leave the name out",
    },
    Dropped {
        key: "keepalive-timeout",
        env: "LARDER_KEEPALIVE_TIMEOUT",
        instead: "an unanswered ping always ends a connection after 20s; leave the name out",
    },
];
