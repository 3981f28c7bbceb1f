//! Figures, for people.

use std::time::Duration;

use indicatif::HumanCount;
use larder_server::config::value::show_duration;

/// Stands for a missing figure.
pub(crate) const NONE: &str = "-";

/// A count, its digits in groups of three.
pub(crate) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// A size in bytes, with three digits. (indicatif's `HumanBytes` always has two decimals, which tables have no room for.)
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // What would be shown as 1000 or more.
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{} {unit}", three_digits(value))
}

/// A length of time: with three digits below a minute, in whole seconds above.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 59.95 {
        return show_duration(Duration::from_secs(whole(seconds)));
    }
    for (unit, length) in [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)] {
        let value = seconds / length;
        if value >= 0.9995 {
            return format!("{} {unit}", three_digits(value));
        }
    }
    format!("{} ns", time.as_nanos())
}

/// A length of time of a message.
pub(crate) fn time_of(told: Option<&prost_types::Duration>) -> Option<Duration> {
    told.and_then(|told| Duration::try_from(*told).ok())
}

/// The same, as text.
pub(crate) fn show_time(told: Option<&prost_types::Duration>) -> String {
    time_of(told).map_or_else(|| NONE.to_owned(), time)
}

/// A share from 0 to 1, in percent.
pub(crate) fn percent(share: f64) -> String {
    // Next to all is not all: 99.96 % is not shown as 100.0 %.
    let tenths = (share * 1_000.0).round();
    let tenths = if share < 1.0 { tenths.min(999.0) } else { tenths };
    format!("{:.1} %", tenths / 10.0)
}

/// A rate per second.
pub(crate) fn rate(rate: f64) -> String {
    if rate >= 1_000.0 {
        return count(whole(rate));
    }
    format!("{rate:.1}")
}

/// The nearest whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let shown: Vec<String> = [0, 999, 1_000, 123_456, 1_234_567, u64::MAX].map(count).into();
        assert_eq!(shown, ["0", "999", "1,000", "123,456", "1,234,567", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn sizes_keep_three_digits() {
        for (size, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (98_765, "96.5 KiB"),
            (1_023 << 10, "1.00 MiB"),
            (256 << 20, "256 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }

    #[test]
    fn times_keep_three_digits() {
        for (nanos, shown) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_600, "1.00 ms"),
            (123_456_789, "123 ms"),
            (1_500_000_000, "1.50 s"),
            (59_960_000_000, "1m"),
            (3_723_400_000_000, "1h2m3s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), shown);
        }
    }

    #[test]
    fn shares_and_rates() {
        assert_eq!([0.0, 0.987_6, 0.999_96, 1.0].map(percent), ["0.0 %", "98.8 %", "99.9 %", "100.0 %"]);
        assert_eq!([0.0, 12.34, 999.9, 12_345.6].map(rate), ["0.0", "12.3", "999.9", "12,346"]);
    }
}
