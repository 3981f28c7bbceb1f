//! Amounts of money as decimal text, exact.

use larder_proto::google_type::Money;

/// Reads an amount such as `12`, `12.5` or `0.000000001`: never negative, at most nine decimals.
pub(crate) fn read(text: &str, currency: &str) -> Result<Money, String> {
    let refused = || format!("{text:?} is not an amount such as 12.50");
    let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(units) || !all_digits(decimals) {
        return Err(refused());
    }
    if decimals.len() > 9 {
        return Err(format!("{text:?} has more than nine decimals"));
    }
    let units = units.parse().map_err(|_| format!("{text:?} is too large an amount"))?;
    let nanos = format!("{decimals:0<9}").parse().map_err(|_| refused())?;
    Ok(Money { currency_code: currency.to_owned(), units, nanos })
}

/// Writes an amount with as many decimals as it needs, at least two.
pub(crate) fn show(money: &Money) -> String {
    let sign = if money.units < 0 || money.nanos < 0 { "-" } else { "" };
    let nanos = format!("{:09}", money.nanos.unsigned_abs());
    let needed = nanos.trim_end_matches('0').len().max(2);
    format!("{sign}{}.{}", money.units.unsigned_abs(), &nanos[..needed])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, units, nanos) in [
            ("12.50", 12, 500_000_000),
            ("0.00", 0, 0),
            ("0.000000001", 0, 1),
            ("9223372036854775807.999999999", i64::MAX, 999_999_999),
            ("3.07", 3, 70_000_000),
            ("3.125", 3, 125_000_000),
        ] {
            let money = Money { currency_code: "EUR".into(), units, nanos };
            assert_eq!(read(text, "EUR").as_ref(), Ok(&money), "{text}");
            assert_eq!(show(&money), text);
        }
        assert_eq!(read("12", "").map(|money| money.nanos), Ok(0));
        assert_eq!(read("007.5", "").map(|money| money.units), Ok(7));
        assert_eq!(show(&Money { currency_code: String::new(), units: -1, nanos: -750_000_000 }), "-1.75");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1,5", "1e3", " 1", "1.0000000001", "9223372036854775808", "x"] {
            assert!(read(text, "EUR").is_err(), "{text}");
        }
    }
}
