//! Policies: how copies are kept, by what they are. Each kind has the same keys, in a section of its own.

use std::{ops::RangeInclusive, time::Duration};

use super::super::{
    Invalid,
    setting::{Default, Setting},
    value,
};

/// Bounds of a time to live.
const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24 * 365);
/// Bounds of a limit on stale copies.
const STALE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 7);
/// Bounds of the factor of early refresh.
const BETA: RangeInclusive<f64> = 0.0..=100.0;

/// Only the file has policies, and the variables that override its keys.
const POLICY: Setting = Setting { flag: false, ..Setting::BASE };

/// The keys of one policy: its field, its name in sections and in variables, and the defaults that differ between kinds.
macro_rules! policy {
    ($field:ident, $key:literal, $env:literal, $ttl:literal, $l2_ttl:literal, $early:literal) => {
        &[
            Setting {
                key: concat!("policy.", $key, ".levels"),
                env: concat!("LARDER_POLICY__", $env, "__LEVELS"),
                default: Default::Text("l1,l2"),
                shape: "TIERS",
                help: "The tiers that keep copies: l1, l2, both, or none.",
                set: |config, text| {
                    (config.cache.policies.$field.l1, config.cache.policies.$field.l2) = levels(text)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".ttl"),
                env: concat!("LARDER_POLICY__", $env, "__TTL"),
                default: Default::Text($ttl),
                shape: "DURATION",
                help: "How long a copy lives in memory.",
                set: |config, text| {
                    config.cache.policies.$field.ttl = value::duration_in(text, TTL)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".l2-ttl"),
                env: concat!("LARDER_POLICY__", $env, "__L2_TTL"),
                default: Default::Text($l2_ttl),
                shape: "DURATION",
                help: "How long a copy lives in Redis.",
                set: |config, text| {
                    config.cache.policies.$field.l2_ttl = value::duration_in(text, TTL)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".jitter"),
                env: concat!("LARDER_POLICY__", $env, "__JITTER"),
                default: Default::Text("10%"),
                shape: "SHARE",
                help: "The share of its time to live by which a copy may expire early, at random, so that copies made together \
                       do not expire together.",
                set: |config, text| {
                    config.cache.policies.$field.jitter = value::share(text)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".idle"),
                env: concat!("LARDER_POLICY__", $env, "__IDLE"),
                default: Default::Text("none"),
                shape: "DURATION",
                help: "Sliding expiration: a copy expires when nobody reads it for this long. Reads never extend its time to \
                       live.",
                set: |config, text| {
                    config.cache.policies.$field.idle = value::optional(text, |text| value::duration_in(text, TTL))?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".early-refresh"),
                env: concat!("LARDER_POLICY__", $env, "__EARLY_REFRESH"),
                default: Default::Text($early),
                shape: "NUMBER",
                help: "Probabilistic early refresh (XFetch): its factor beta. A larger factor refreshes earlier, 1 is best in \
                       theory, 0 turns it off.",
                set: |config, text| {
                    config.cache.policies.$field.early_refresh = value::number_in(text, BETA)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".refresh-after"),
                env: concat!("LARDER_POLICY__", $env, "__REFRESH_AFTER"),
                default: Default::Text("100%"),
                shape: "SHARE",
                help: "Eager refresh: the first read past this share of the time to live reloads the copy in the background. \
                       100% turns it off.",
                set: |config, text| {
                    config.cache.policies.$field.refresh_after = value::share(text)?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".max-stale"),
                env: concat!("LARDER_POLICY__", $env, "__MAX_STALE"),
                default: Default::Text("none"),
                shape: "DURATION",
                help: "A lower limit than max-stale for these copies.",
                set: |config, text| {
                    config.cache.policies.$field.max_stale =
                        value::optional(text, |text| value::duration_in(text, STALE))?;
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".max-bytes"),
                env: concat!("LARDER_POLICY__", $env, "__MAX_BYTES"),
                default: Default::Text("1MiB"),
                shape: "SIZE",
                help: "No tier keeps a larger copy.",
                set: |config, text| {
                    let bytes = value::size_in(text, 1..=1 << 28)?;
                    config.cache.policies.$field.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    Ok(())
                },
                ..POLICY
            },
            Setting {
                key: concat!("policy.", $key, ".compress-from"),
                env: concat!("LARDER_POLICY__", $env, "__COMPRESS_FROM"),
                default: Default::Text("1KiB"),
                shape: "SIZE",
                help: "The least size from which a copy is compressed with zstd in Redis.",
                set: |config, text| {
                    let bytes = value::size_in(text, 1..=1 << 40)?;
                    config.cache.policies.$field.compress_from = usize::try_from(bytes).unwrap_or(usize::MAX);
                    Ok(())
                },
                ..POLICY
            },
        ]
    };
}

pub(super) const ITEM: &[Setting] = policy!(item, "item", "ITEM", "10m", "30m", "1");
pub(super) const LIST: &[Setting] = policy!(list, "list", "LIST", "1m", "5m", "1");
pub(super) const SEARCH: &[Setting] = policy!(search, "search", "SEARCH", "1m", "5m", "1");
pub(super) const NOT_FOUND: &[Setting] = policy!(not_found, "not-found", "NOT_FOUND", "10s", "10s", "0");

fn levels(text: &str) -> Result<(bool, bool), Invalid> {
    let mut levels = (false, false);
    if text.trim() == "none" {
        return Ok(levels);
    }
    for level in text.split(',') {
        match level.trim() {
            "l1" => levels.0 = true,
            "l2" => levels.1 = true,
            _ => return Err(Invalid::new("not a list of tiers", "write l1, l2, l1,l2 or none")),
        }
    }
    Ok(levels)
}
