//! Filters and orders.

use std::fmt::Write as _;

use larder_proto::{google_type, serving};
use larder_storage::{Filter, Order, OrderField, PriceRange};

use super::{
    Violations,
    product::{check_amount, check_text, is_currency, shown},
};

const MAX_TERM: usize = 128;

/// Parses a filter.
pub fn parse_filter(filter: Option<serving::ProductFilter>) -> Result<Filter, Violations> {
    let Some(filter) = filter else { return Ok(Filter::default()) };
    let mut violations = Violations::default();
    check_text(&mut violations, "filter.category".into(), &filter.category, MAX_TERM);
    check_text(&mut violations, "filter.tag".into(), &filter.tag, MAX_TERM);
    let price = filter.price.and_then(|price| violations.take(parse_range(price)));
    let set = |text: String| (!text.is_empty()).then_some(text);
    violations.or(Filter { category: set(filter.category), tag: set(filter.tag), in_stock: filter.in_stock, price })
}

fn parse_range(range: serving::PriceRange) -> Result<PriceRange, Violations> {
    let mut violations = Violations::default();
    if !is_currency(&range.currency_code) {
        violations.add("filter.price.currency_code", "must be three capital letters of ISO 4217");
    }
    let mut end = |name: &str, money: Option<google_type::Money>| {
        let money = money?;
        let field = format!("filter.price.{name}");
        if !money.currency_code.is_empty() && money.currency_code != range.currency_code {
            violations.add(format!("{field}.currency_code"), "must be empty or that of the range");
        }
        check_amount(&mut violations, &field, &money);
        Some((money.units, money.nanos))
    };
    let min = end("min", range.min);
    let max = end("max", range.max);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        violations.add("filter.price.min", "must not be above filter.price.max");
    }
    violations.or(PriceRange { currency: range.currency_code, min, max })
}

/// Parses an order: a field, alone or followed by `desc`.
pub fn parse_order(order_by: &str) -> Result<Order, Violations> {
    let mut words = order_by.split_ascii_whitespace();
    let field = match words.next() {
        None | Some("id") => Some(OrderField::Id),
        Some("create_time") => Some(OrderField::CreateTime),
        Some("update_time") => Some(OrderField::UpdateTime),
        Some("name") => Some(OrderField::Name),
        Some("price") => Some(OrderField::Price),
        Some(_) => None,
    };
    match (field, words.next(), words.next()) {
        (Some(field), None, None) => Ok(Order { field, descending: false }),
        (Some(field), Some("desc"), None) => Ok(Order { field, descending: true }),
        _ => {
            let rule = "must be id, create_time, update_time, name or price, alone or followed by \" desc\"";
            Err(Violations::one("order_by", format!("{rule}, is {}", shown(order_by))))
        }
    }
}

/// A filter as text. Filters with the same meaning have the same text; others differ.
pub fn canonical_filter(filter: &Filter) -> String {
    let mut text = String::new();
    let mut part = |name: &str, value: &str| {
        text.push('&');
        text.push_str(name);
        text.push('=');
        escape(&mut text, value);
    };
    if let Some(category) = &filter.category {
        part("category", category);
    }
    if let Some(tag) = &filter.tag {
        part("tag", tag);
    }
    if let Some(in_stock) = filter.in_stock {
        part("in_stock", if in_stock { "true" } else { "false" });
    }
    if let Some(price) = &filter.price {
        part("currency", &price.currency);
        for (name, end) in [("min", price.min), ("max", price.max)] {
            if let Some((units, nanos)) = end {
                part(name, &format!("{units}.{nanos:09}"));
            }
        }
    }
    text
}

/// Escapes the characters that have a meaning in a key.
pub(super) fn escape(into: &mut String, text: &str) {
    for c in text.chars() {
        if c == '&' || c == '=' || c == '%' || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(into, "%{byte:02x}");
            }
        } else {
            into.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_filter_is_another_text() {
        let category = |text: &str| Filter { category: Some(text.into()), ..Default::default() };
        let both = Filter { tag: Some("b".into()), ..category("a") };
        assert_ne!(canonical_filter(&category("a&tag=b")), canonical_filter(&both));
        assert_eq!(canonical_filter(&both), "&category=a&tag=b");
        assert_eq!(canonical_filter(&category("a&tag=b%")), "&category=a%26tag%3db%25");
        let range =
            |min, max| Filter { price: Some(PriceRange { currency: "EUR".into(), min, max }), ..Default::default() };
        assert_ne!(canonical_filter(&range(Some((1, 0)), None)), canonical_filter(&range(None, Some((1, 0)))));
    }

    #[test]
    fn orders_are_parsed() {
        assert_eq!(parse_order(""), Ok(Order::default()));
        assert_eq!(parse_order(" price  desc "), Ok(Order { field: OrderField::Price, descending: true }));
        for bad in ["price asc", "desc", "name desc desc", "name,price", "NAME"] {
            assert!(parse_order(bad).is_err(), "{bad}");
        }
    }
}
