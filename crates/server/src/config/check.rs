//! Rules between settings.

use std::time::Duration;

use super::{Config, Invalid, value::show_duration};

/// A rule that two settings break together.
pub(super) struct Broken {
    /// First the setting to change, then the other one.
    pub(super) keys: [&'static str; 2],
    /// The rule, and how to keep it.
    pub(super) invalid: Invalid,
}

/// Finds the rules that a configuration breaks.
pub(super) fn check(config: &Config) -> Vec<Broken> {
    let cache = &config.cache;
    let mut broken = Vec::new();
    let mut at_most = |low: (&'static str, Duration), high: (&'static str, Duration), raise: bool, why: &str| {
        if low.1 > high.1 {
            let (change, verb, limit) = if raise { (high, "at least", low) } else { (low, "at most", high) };
            broken.push(Broken {
                keys: [change.0, limit.0],
                invalid: Invalid::new(
                    format!("it must be {verb} {} ({})", limit.0, show_duration(limit.1)),
                    format!("{why}: change one of the two"),
                ),
            });
        }
    };
    at_most(
        ("staleness-bound", cache.staleness_bound),
        ("max-stale", cache.max_stale),
        true,
        "copies within the bound are always served",
    );
    let policies = &cache.policies;
    let each = [
        ("policy.item.ttl", "policy.item.l2-ttl", &policies.item),
        ("policy.list.ttl", "policy.list.l2-ttl", &policies.list),
        ("policy.search.ttl", "policy.search.l2-ttl", &policies.search),
        ("policy.not-found.ttl", "policy.not-found.l2-ttl", &policies.not_found),
    ];
    for (ttl, l2_ttl, policy) in each {
        let retention = ("change-retention", config.server.change_retention);
        let why = "a copy must not outlive the changes that it is checked against";
        at_most((ttl, policy.ttl), retention, false, why);
        // Without Redis the time to live in Redis has no effect.
        if config.redis_url.is_some() {
            at_most((l2_ttl, policy.l2_ttl), retention, false, why);
        }
    }
    at_most(
        ("staleness-bound", cache.staleness_bound),
        ("change-retention", config.server.change_retention),
        false,
        "the log must keep changes until replicas have read them",
    );
    if config.events.queue.stream.is_some() && config.redis_url.is_none() {
        broken.push(Broken {
            keys: ["queue-stream", "redis-url"],
            invalid: Invalid::new(
                "a queue without Redis",
                "set redis-url to the Redis that has the stream, or write none",
            ),
        });
    }
    let scheme = config.redis_url.as_deref().and_then(|url| url.split_once("://")).map(|(scheme, _)| scheme);
    if config.events.queue.stream.is_some() && scheme.is_some_and(|scheme| !matches!(scheme, "redis" | "rediss")) {
        broken.push(Broken {
            keys: ["queue-stream", "redis-url"],
            invalid: Invalid::new(
                "a queue in a Redis of several servers",
                "the stream is read from one server: give redis-url as redis:// or rediss://, or write none",
            ),
        });
    }
    broken
}
