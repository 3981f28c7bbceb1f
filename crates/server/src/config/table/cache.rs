//! Settings of the cache.

use std::time::Duration;

use super::super::{
    setting::{Default, Setting},
    value,
};

pub(super) const FRESHNESS: &[Setting] = &[
    Setting {
        key: "staleness-bound",
        env: "LARDER_STALENESS_BOUND",
        default: Default::Text("1s"),
        shape: "DURATION",
        help: "A read that begins this long after a write was acknowledged returns that write or a newer one. Each replica reads \
               the change log four times as often.",
        set: |config, text| {
            config.cache.staleness_bound =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_mins(10))?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "max-stale",
        env: "LARDER_MAX_STALE",
        default: Default::Text("5m"),
        shape: "DURATION",
        help: "How long the server still serves copies, marked stale, while the database is away. At least the staleness bound, \
               which means never.",
        set: |config, text| {
            config.cache.max_stale =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_hours(24 * 7))?;
            Ok(())
        },
        ..Setting::BASE
    },
];

pub(super) const MEMORY: &[Setting] = &[
    Setting {
        key: "l1-entries",
        env: "LARDER_L1_ENTRIES",
        default: Default::Text("100000"),
        shape: "NUMBER",
        help: "Copies that fit into memory when each is small.",
        set: |config, text| {
            config.cache.l1_entries = value::count(text, 1..=1_000_000_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "l1-bytes",
        env: "LARDER_L1_BYTES",
        default: Default::Text("256MiB"),
        shape: "MEMORY",
        help: "Bytes of copies that fit into memory, or a share of the memory that the process may use: the limit of its cgroup \
               (the memory limit of a container), or else the memory of the machine. The bookkeeping of each copy comes on top.",
        set: |config, text| {
            config.cache.l1_bytes = value::memory_in(text, config.memory, 1 << 10..=1 << 44)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "l1-eviction",
        env: "LARDER_L1_EVICTION",
        default: Default::Text("lru"),
        shape: "POLICY",
        help: "Which copy is evicted when memory is full: the least recently used one (lru) or the least frequently used one \
               (tiny-lfu).",
        set: |config, text| {
            config.cache.eviction = value::eviction(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "prefetch",
        env: "LARDER_PREFETCH",
        default: Default::Text("10%"),
        shape: "SHARE",
        help: "How many prefetched products may stay unread, as a share of the products that readers loaded. Larder prefetches \
               products that were read often and have left memory; it nearly stops by itself where hardly any of them is read. \
               0% turns it off.",
        set: |config, text| {
            config.cache.prefetch = value::share(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "warm-on-start",
        env: "LARDER_WARM_ON_START",
        default: Default::Text("20000"),
        shape: "NUMBER",
        help: "How many of the hottest products of all replicas, as Redis remembers them, a replica loads before it is ready. It \
               stops after 5s. 0 turns it off.",
        set: |config, text| {
            config.server.warm_on_start = value::count(text, 0..=20_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "max-loads",
        env: "LARDER_MAX_LOADS",
        default: Default::Text("64"),
        shape: "NUMBER",
        help: "Loads from the database at once. 4,096 more may wait; further ones are refused with RESOURCE_EXHAUSTED.",
        set: |config, text| {
            config.cache.max_loads = value::count(text, 1..=100_000)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "load-timeout",
        env: "LARDER_LOAD_TIMEOUT",
        default: Default::Text("2s"),
        shape: "DURATION",
        help: "How long a load from the database may take, including the wait for its turn. After three quarters of this time readers get a \
               stale copy, if one may be served, and loads fail at once while no load is answered.",
        set: |config, text| {
            config.cache.load_timeout = value::duration_in(text, Duration::from_millis(10)..=Duration::from_hours(1))?;
            Ok(())
        },
        ..Setting::BASE
    },
];
