//! Reads the texts of settings.
//!
//! Lengths of time and sizes are read here rather than by humantime and bytesize: humantime takes `5M` for five months and units in
//! any order, bytesize takes fractions of a byte, and neither writes what files of settings hold (`1h30m`, `256MiB`).

use std::{fmt::Write as _, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use larder_cache::Eviction;

/// Why a text is no value of its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub hint: String,
}

impl Invalid {
    /// An error with its remedy.
    pub fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

/// Reads a length of time: numbers with units, from the largest to the smallest, such as `250ms`, `1s` or `1h30m`.
pub fn duration(text: &str) -> Result<Duration, Invalid> {
    const HINT: &str = "write a number with its unit, such as 250ms, 1s, 5m or 1h30m (units: ms, s, m, h, d)";
    let invalid = |reason: &str| Invalid::new(reason, HINT);
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid("not a length of time"));
    }
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let number: u64 = number.parse().map_err(|_| invalid("not a length of time"))?;
        let millis: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(invalid("a length of time without a unit")),
            _ => return Err(invalid("not a length of time")),
        };
        if millis >= last_unit {
            return Err(invalid("units of time out of order"));
        }
        last_unit = millis;
        total = number
            .checked_mul(millis)
            .and_then(|millis| total.checked_add(Duration::from_millis(millis)))
            .ok_or_else(|| invalid("too long a time"))?;
        rest = after;
    }
    Ok(total)
}

/// Reads a length of time within limits.
pub fn duration_in(text: &str, limits: RangeInclusive<Duration>) -> Result<Duration, Invalid> {
    let value = duration(text)?;
    if limits.contains(&value) {
        return Ok(value);
    }
    Err(out_of_range(value < *limits.start(), &show_duration(*limits.start()), &show_duration(*limits.end())))
}

/// Writes a length of time so that [`duration`] reads it.
pub fn show_duration(value: Duration) -> String {
    let mut millis = value.as_millis();
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = millis / length;
        millis %= length;
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a size in bytes: a plain number, or one with a unit such as `1MB` (10^6) or `256MiB` (2^20).
pub fn size(text: &str) -> Result<u64, Invalid> {
    const HINT: &str = "write a number of bytes, or one with a unit, such as 512KiB, 256MiB or 1GB";
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len()));
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(Invalid::new("not a size", HINT)),
    };
    let number: u64 = digits(number).ok_or_else(|| Invalid::new("not a size", HINT))?;
    number.checked_mul(factor).ok_or_else(|| Invalid::new("too large a size", HINT))
}

/// Reads a size within limits.
pub(crate) fn size_in(text: &str, limits: RangeInclusive<u64>) -> Result<u64, Invalid> {
    let value = size(text)?;
    if limits.contains(&value) {
        return Ok(value);
    }
    Err(out_of_range(value < *limits.start(), &show_size(*limits.start()), &show_size(*limits.end())))
}

/// Reads a size within limits, or a share of `memory`, such as `40%`. The share leaves at least a fifth to the rest of the process.
pub fn memory_in(text: &str, memory: Option<u64>, limits: RangeInclusive<u64>) -> Result<u64, Invalid> {
    const HINT: &str = "write a share from 1% to 80%, such as 40%, or a size such as 256MiB";
    let Some(percent) = text.trim().strip_suffix('%') else { return size_in(text, limits) };
    let percent: u64 = digits(percent.trim_end())
        .filter(|percent| (1..=80).contains(percent))
        .ok_or_else(|| Invalid::new("not a share of the memory limit", HINT))?;
    let memory = memory.ok_or_else(|| {
        Invalid::new("a share of the memory limit, which is not known here", "write a size such as 256MiB")
    })?;
    Ok((memory / 100 * percent).clamp(*limits.start(), *limits.end()))
}

/// Writes a size so that [`size`] reads it.
pub(crate) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Reads a whole number within limits; `_` may group its digits.
pub fn count<N>(text: &str, limits: RangeInclusive<u64>) -> Result<N, Invalid>
where
    N: TryFrom<u64>,
{
    let hint = format!("write a whole number from {} to {}", limits.start(), limits.end());
    let value = digits(text.trim()).ok_or_else(|| Invalid::new("not a whole number", &hint))?;
    if !limits.contains(&value) {
        let reason = if value < *limits.start() { "too small" } else { "too large" };
        return Err(Invalid::new(reason, hint));
    }
    N::try_from(value).map_err(|_| Invalid::new("too large", hint))
}

/// Reads a yes or a no.
pub fn boolean(text: &str) -> Result<bool, Invalid> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Invalid::new("neither true nor false", "write true or false")),
    }
}

/// Reads a share: `10%` or `0.1`.
pub fn share(text: &str) -> Result<f64, Invalid> {
    const HINT: &str = "write a share from 0% to 100%, such as 10% or 0.1";
    let text = text.trim();
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let value = number.parse::<f64>().map_err(|_| Invalid::new("not a share", HINT))? / factor;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(Invalid::new("not between 0% and 100%", HINT)) }
}

/// Reads a number within limits.
pub(crate) fn number_in(text: &str, limits: RangeInclusive<f64>) -> Result<f64, Invalid> {
    let hint = format!("write a number from {} to {}", limits.start(), limits.end());
    let number = text.trim().parse::<f64>().map_err(|_| Invalid::new("not a number", hint.as_str()))?;
    if limits.contains(&number) { Ok(number) } else { Err(Invalid::new("out of range", hint)) }
}

/// Reads an address to listen on: an IP address and a port, which may be 0.
pub fn socket(text: &str) -> Result<SocketAddr, Invalid> {
    const HINT: &str =
        "write an IP address and a port, such as 127.0.0.1:50051, 0.0.0.0:50051 or [::1]:0 (port 0: any free one)";
    let text = text.trim();
    text.parse().map_err(|_| {
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let reason = if host.is_empty() {
            "an address without a host"
        } else if text.parse::<std::net::IpAddr>().is_ok() || (!text.contains(':') && host.contains('.')) {
            "an address without a port"
        } else if host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains(':') {
            "a name, where an IP address is needed"
        } else {
            "not an address to listen on"
        };
        Invalid::new(reason, HINT)
    })
}

/// Reads the address of a server to call.
pub fn url(text: &str) -> Result<http::Uri, Invalid> {
    const HINT: &str = "write a URL such as http://127.0.0.1:50051";
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri = http::Uri::from_str(&with_scheme).map_err(|_| Invalid::new("not a URL", HINT))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Invalid::new("neither http:// nor https://", HINT));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(Invalid::new("a URL without a host", HINT));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(Invalid::new("a URL with a path", HINT));
    }
    Ok(uri)
}

/// Reads a path of a file or directory.
pub fn path(text: &str) -> Result<PathBuf, Invalid> {
    if text.is_empty() || text.contains('\0') {
        return Err(Invalid::new("not a path", "write the path of a file or directory"));
    }
    Ok(PathBuf::from(text))
}

/// Reads a value that may also be `none`.
pub fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    read(text).map(Some).map_err(|invalid| Invalid { hint: format!("{}, or none", invalid.hint), ..invalid })
}

/// Reads which entry goes when the cache is full.
pub fn eviction(text: &str) -> Result<Eviction, Invalid> {
    match text.trim().to_ascii_lowercase().as_str() {
        "lru" => Ok(Eviction::Lru),
        "tiny-lfu" | "tinylfu" => Ok(Eviction::TinyLfu),
        _ => Err(Invalid::new("not a way of eviction", "write lru or tiny-lfu")),
    }
}

fn digits(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn out_of_range(below: bool, least: &str, most: &str) -> Invalid {
    Invalid::new(if below { "too small" } else { "too large" }, format!("write a value from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("1s", 1_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("0s", 0),
            (" 2s ", 2_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "1x",
            "-1s",
            "1s1h",
            "1s1s",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615d",
            "soon",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["1s", "250ms", "5m", "1h30m", "1d", "0s", "1d2h3m4s5ms"] {
            assert_eq!(duration(text).map(show_duration).as_deref(), Ok(text));
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1_024),
            ("10_000", 10_000),
            ("256MiB", 256 << 20),
            ("1MB", 1_000_000),
            ("2 gib", 2 << 30),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "12 lots", "-1", "1.5MiB", "_1", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(256 << 20), "256MiB");
    }

    #[test]
    fn sizes_may_be_shares_of_memory() {
        let read = |text, memory| memory_in(text, memory, 1..=1 << 40);
        assert_eq!(read("40%", Some(1_000)), Ok(400));
        assert_eq!(read(" 80 % ", Some(1_000)), Ok(800));
        assert_eq!(read("256MiB", None), Ok(256 << 20));
        for text in ["0%", "81%", "100%", "-1%", "4.5%", "%", "0.4"] {
            assert!(read(text, Some(1_000)).is_err(), "{text}");
        }
        assert!(read("40%", None).expect_err("no limit is known").hint.contains("256MiB"));
    }

    #[test]
    fn limits_hold() {
        assert!(size_in("1KiB", 1..=1024).is_ok());
        assert_eq!(size_in("2KiB", 1..=1024).unwrap_err().reason, "too large");
        assert_eq!(count::<u32>("0", 1..=9).unwrap_err().reason, "too small");
        assert_eq!(count::<u32>("9", 1..=9), Ok(9));
        assert!(count::<u8>("300", 0..=999).is_err());
        let second = Duration::from_secs(1);
        assert!(duration_in("1s", second..=second).is_ok());
        assert_eq!(duration_in("1ms", second..=second).unwrap_err().reason, "too small");
    }

    #[test]
    fn addresses_are_read() {
        for text in ["127.0.0.1:50051", "0.0.0.0:0", "[::1]:80"] {
            assert!(socket(text).is_ok(), "{text}");
        }
        for (text, reason) in [
            ("127.0.0.1", "an address without a port"),
            (":50051", "an address without a host"),
            ("localhost:50051", "a name, where an IP address is needed"),
            ("127.0.0.1:99999", "not an address to listen on"),
        ] {
            assert_eq!(socket(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn urls_are_read() {
        for text in
            ["http://127.0.0.1:50051", "http://catalogue:50051/", "localhost:50051", "http://[::1]:1", "https://a:1"]
        {
            assert!(url(text).is_ok(), "{text}");
        }
        for text in ["ftp://a", "http://", "http://a/b", "http://a b", "unix:///x"] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_booleans_and_options_are_read() {
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(share("0.1"), Ok(0.1));
        for text in ["", "%", "101%", "-1%", "NaN", "2"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(boolean("Yes"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        assert!(boolean("perhaps").is_err());
        assert_eq!(optional("none", size), Ok(None));
        assert_eq!(optional("1KiB", size), Ok(Some(1024)));
        assert!(optional("x", size).unwrap_err().hint.ends_with(", or none"));
    }
}
