//! Settings of the cache.

use std::time::Duration;

use super::super::{setting::Setting, value};

pub(super) const FRESHNESS: &[Setting] = &[
    Setting::new(
        "staleness-bound",
        "LARDER_STALENESS_BOUND",
        "1s",
        "DURATION",
        "A read that begins this long after a write was acknowledged returns that write or something newer. The change log \
         is read four times as often.",
        |config, text| {
            config.cache.staleness_bound =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_mins(10))?;
            Ok(())
        },
    ),
    Setting::new(
        "max-stale",
        "LARDER_MAX_STALE",
        "5m",
        "DURATION",
        "How long copies are still served, marked stale, while the database is away; as long as the staleness bound: never.",
        |config, text| {
            config.cache.max_stale =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_hours(24 * 7))?;
            Ok(())
        },
    ),
];

pub(super) const MEMORY: &[Setting] = &[
    Setting::new(
        "l1-entries",
        "LARDER_L1_ENTRIES",
        "100000",
        "NUMBER",
        "Copies that fit into memory when each is small.",
        |config, text| {
            config.cache.l1_entries = value::count(text, 1..=1_000_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "l1-bytes",
        "LARDER_L1_BYTES",
        "256MiB",
        "SIZE",
        "Bytes of copies that fit into memory; the bookkeeping of each comes on top.",
        |config, text| {
            config.cache.l1_bytes = value::size_in(text, 1 << 10..=1 << 44)?;
            Ok(())
        },
    ),
    Setting::new(
        "l1-eviction",
        "LARDER_L1_EVICTION",
        "lru",
        "POLICY",
        "Which copy goes when memory is full: lru, the one unused for longest, or tiny-lfu, the one used least.",
        |config, text| {
            config.cache.eviction = value::eviction(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "not-found-entries",
        "LARDER_NOT_FOUND_ENTRIES",
        "10000",
        "NUMBER",
        "How many absent ids are remembered as absent.",
        |config, text| {
            config.cache.not_found_entries = value::count(text, 0..=1_000_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "prefetch",
        "LARDER_PREFETCH",
        "10%",
        "SHARE",
        "Products that were read often and have gone from memory are read again before anybody asks. So many of them may go \
         unread, as a share of those that readers had loaded; where hardly any is read it nearly stops by itself; 0%: none.",
        |config, text| {
            config.cache.prefetch = value::share(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "warm-on-start",
        "LARDER_WARM_ON_START",
        "20000",
        "NUMBER",
        "So many of the products that all replicas read most, as Redis remembers them, are read before this one is ready; 0: none.",
        |config, text| {
            config.server.warm_on_start = value::count(text, 0..=20_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "warm-timeout",
        "LARDER_WARM_TIMEOUT",
        "5s",
        "DURATION",
        "How long that may take; then the replica is ready as it is.",
        |config, text| {
            config.server.warm_timeout = value::duration_in(text, Duration::from_millis(1)..=Duration::from_mins(10))?;
            Ok(())
        },
    ),
    Setting::new(
        "max-loads",
        "LARDER_MAX_LOADS",
        "64",
        "NUMBER",
        "Loads from the database under way at once.",
        |config, text| {
            config.cache.max_loads = value::count(text, 1..=100_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "max-waiting-loads",
        "LARDER_MAX_WAITING_LOADS",
        "4096",
        "NUMBER",
        "Loads that may wait for one of those to end; more are refused with RESOURCE_EXHAUSTED.",
        |config, text| {
            config.cache.max_waiting_loads = value::count(text, 0..=1_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "load-timeout",
        "LARDER_LOAD_TIMEOUT",
        "10s",
        "DURATION",
        "How long a load from the database may take, the wait for its turn included.",
        |config, text| {
            config.cache.load_timeout = value::duration_in(text, Duration::from_millis(10)..=Duration::from_hours(1))?;
            Ok(())
        },
    ),
    Setting::new(
        "max-changes-per-pass",
        "LARDER_MAX_CHANGES_PER_PASS",
        "10000",
        "NUMBER",
        "Changes of the log that are taken one by one; after more of them at once everything is dropped from memory instead.",
        |config, text| {
            config.cache.max_changes_per_pass = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
    ),
];
