//! Settings of the policies: how copies are kept, by what they are. The same for each kind.

use std::{ops::RangeInclusive, time::Duration};

use super::super::{Invalid, setting::Setting, value};

/// Bounds of a time to live.
const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24 * 365);
/// Bounds of the factor of early refresh.
const BETA: RangeInclusive<f64> = 0.0..=100.0;

/// The settings of one policy: its field, its name in keys and in variables, and what differs from one to the next.
macro_rules! policy {
    ($field:ident, $key:literal, $env:literal, $ttl:literal, $l2_ttl:literal, $early:literal) => {
        &[
            Setting::new(
                concat!("levels-", $key),
                concat!("LARDER_LEVELS_", $env),
                "l1,l2",
                "TIERS",
                "Which tiers keep them: l1, l2, both, or none.",
                |config, text| {
                    (config.cache.policies.$field.l1, config.cache.policies.$field.l2) = levels(text)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("ttl-", $key),
                concat!("LARDER_TTL_", $env),
                $ttl,
                "DURATION",
                "How long one lives in memory.",
                |config, text| {
                    config.cache.policies.$field.ttl = value::duration_in(text, TTL)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("l2-ttl-", $key),
                concat!("LARDER_L2_TTL_", $env),
                $l2_ttl,
                "DURATION",
                "How long one lives in Redis.",
                |config, text| {
                    config.cache.policies.$field.l2_ttl = value::duration_in(text, TTL)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("jitter-", $key),
                concat!("LARDER_JITTER_", $env),
                "10%",
                "SHARE",
                "The share of its time by which one may expire early, at random, so that not all expire at once.",
                |config, text| {
                    config.cache.policies.$field.jitter = value::share(text)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("idle-", $key),
                concat!("LARDER_IDLE_", $env),
                "none",
                "DURATION",
                "Sliding expiration: one that is not read for so long expires; reads keep it, but for no longer than its time.",
                |config, text| {
                    config.cache.policies.$field.idle =
                        value::optional(text, |text| value::duration_in(text, TTL))?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("early-refresh-", $key),
                concat!("LARDER_EARLY_REFRESH_", $env),
                $early,
                "NUMBER",
                "Early refresh by chance (XFetch): its factor beta; larger is earlier, 1 is best in theory, 0 turns it off.",
                |config, text| {
                    config.cache.policies.$field.early_refresh = value::number_in(text, BETA)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("refresh-after-", $key),
                concat!("LARDER_REFRESH_AFTER_", $env),
                "100%",
                "SHARE",
                "Eager refresh: past this share of its time, one that is read is loaded anew in the background; 100%: never.",
                |config, text| {
                    config.cache.policies.$field.refresh_after = value::share(text)?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("max-stale-", $key),
                concat!("LARDER_MAX_STALE_", $env),
                "none",
                "DURATION",
                "A lower limit than max-stale for these.",
                |config, text| {
                    let limits = Duration::ZERO..=Duration::from_hours(24 * 7);
                    config.cache.policies.$field.max_stale =
                        value::optional(text, |text| value::duration_in(text, limits))?;
                    Ok(())
                },
            ),
            Setting::new(
                concat!("max-bytes-", $key),
                concat!("LARDER_MAX_BYTES_", $env),
                "1MiB",
                "SIZE",
                "Larger ones are not kept in any tier.",
                |config, text| {
                    let bytes = value::size_in(text, 1..=1 << 28)?;
                    config.cache.policies.$field.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    Ok(())
                },
            ),
            Setting::new(
                concat!("compress-from-", $key),
                concat!("LARDER_COMPRESS_FROM_", $env),
                "1KiB",
                "SIZE",
                "From this size on they are compressed with zstd in Redis.",
                |config, text| {
                    let bytes = value::size_in(text, 1..=1 << 40)?;
                    config.cache.policies.$field.compress_from = usize::try_from(bytes).unwrap_or(usize::MAX);
                    Ok(())
                },
            ),
        ]
    };
}

pub(super) const ITEM: &[Setting] = policy!(item, "item", "ITEM", "10m", "30m", "1");
pub(super) const LIST: &[Setting] = policy!(list, "list", "LIST", "1m", "5m", "1");
pub(super) const SEARCH: &[Setting] = policy!(search, "search", "SEARCH", "1m", "5m", "1");
pub(super) const NOT_FOUND: &[Setting] = policy!(not_found, "not-found", "NOT_FOUND", "10s", "1m", "0");

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
