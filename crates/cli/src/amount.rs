//! Amounts of money as decimal text, exact.

use larder_proto::google_type::Money;

/// Reads an amount such as `12`, `12.5`, `.99` or `0.000000001`: never negative, at most nine decimals. A comma with one or two
/// digits behind it is a decimal point; with three digits it could also separate thousands, and is refused.
pub(crate) fn read(text: &str, currency: &str) -> Result<Money, String> {
    let text = text.trim();
    let refused = || format!("{} is not an amount such as 12.50", shown(text));
    let comma = text.split_once(',').filter(|(_, decimals)| decimals.len() <= 2);
    let (units, decimals) = text.split_once('.').or(comma).unwrap_or((text, "0"));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if decimals.is_empty() || !all_digits(units) || !all_digits(decimals) {
        return Err(refused());
    }
    if decimals.len() > 9 {
        return Err(format!("{} has more than nine decimals", shown(text)));
    }
    let units = match units {
        "" if text.is_empty() => return Err(refused()),
        "" => 0,
        units => units.parse().map_err(|_| format!("{} is too large an amount", shown(text)))?,
    };
    let nanos = format!("{decimals:0<9}").parse().map_err(|_| refused())?;
    Ok(Money { currency_code: currency.to_owned(), units, nanos })
}

/// Text of a file, shortened for an error.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}", format!("{}…", &text[..end])),
        None => format!("{text:?}"),
    }
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
        for (text, shown) in [
            (" 12.50", "12.50"),
            ("12.50\u{a0}", "12.50"),
            (".99", "0.99"),
            (".000000001", "0.000000001"),
            ("12,5", "12.50"),
            ("1299,00", "1299.00"),
            (",99", "0.99"),
        ] {
            assert_eq!(read(text, "EUR").map(|money| show(&money)).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(read("12", "").map(|money| money.nanos), Ok(0));
        assert_eq!(read("007.5", "").map(|money| money.units), Ok(7));
        assert_eq!(show(&Money { currency_code: String::new(), units: -1, nanos: -750_000_000 }), "-1.75");
    }

    #[test]
    fn a_long_text_is_cut_in_an_error() {
        assert_eq!(
            read(&"x".repeat(70_000), "EUR"),
            Err(format!("\"{}…\" is not an amount such as 12.50", "x".repeat(40)))
        );
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            " ",
            ".",
            ",",
            "1.",
            "1,",
            "-1",
            "+1",
            "1,234",
            "1,234.50",
            "1.234,50",
            "1,2,3",
            "1e3",
            "1 000",
            "€5",
            "x",
            "1.0000000001",
            "9223372036854775808",
            "NaN",
            "٣",
        ] {
            assert!(read(text, "EUR").is_err(), "{text}");
        }
    }
}
