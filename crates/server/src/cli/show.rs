//! Products as people read them.

use std::fmt::Write as _;

use larder_proto::{
    catalog::{CacheCounts, CacheInfo, CacheTier, Product},
    google_type::Money,
};
use prost_types::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{
    CliError, amount,
    error::Exit,
    output::{Output, note, plain},
};
use crate::json::to_json;

/// Columns of a name, and of categories, in a table; what is longer is cut.
const WIDEST: usize = 44;

/// Prints a product as one line of JSON.
pub(crate) fn json(out: &mut Output, product: &Product) -> Result<(), CliError> {
    let line =
        to_json(product).map_err(|error| CliError::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
    out.line(&line)
}

/// Prints everything about a product.
pub(crate) fn block(out: &mut Output, product: &Product) -> Result<(), CliError> {
    let mut field = |name: &str, value: &str| match value {
        "" => Ok(()),
        value => out.line(&format!("{name:<12}{}", plain(value))),
    };
    field("id", &product.id)?;
    field("name", &product.name)?;
    field("price", &price(product.price.as_ref()))?;
    field("in stock", yes_or_no(product.in_stock))?;
    field("categories", &product.categories.join(", "))?;
    field("tags", &product.tags.join(", "))?;
    for (number, (key, value)) in product.attributes.iter().enumerate() {
        let label = if number == 0 { "attributes" } else { " " };
        field(label, &format!("{key} = {value}"))?;
    }
    field("image", &product.image_url)?;
    field("created", &time(product.create_time.as_ref()))?;
    field("updated", &time(product.update_time.as_ref()))?;
    field("etag", &product.etag)?;
    for (number, line) in product.description.lines().enumerate() {
        let label = if number == 0 { "description" } else { " " };
        field(label, line)?;
    }
    Ok(())
}

/// Prints products as rows of a table, with a head.
pub(crate) fn table(out: &mut Output, products: &[Product]) -> Result<(), CliError> {
    let mut rows = vec![["ID", "NAME", "PRICE", "IN STOCK", "CATEGORIES"].map(str::to_owned)];
    rows.extend(products.iter().map(|product| {
        [
            plain(&product.id).into_owned(),
            cut(&plain(&product.name)),
            price(product.price.as_ref()),
            yes_or_no(product.in_stock).to_owned(),
            cut(&plain(&product.categories.join(", "))),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for row in &rows {
        let mut line = String::new();
        for (number, cell) in row.iter().enumerate() {
            let padding = widths.get(number).map_or(0, |width| width - cell.width());
            // Prices are compared by their ends.
            let (before, after) = if number == 2 { (padding, 0) } else { (0, padding) };
            line.extend(std::iter::repeat_n(' ', before));
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', after + 2));
        }
        out.line(line.trim_end())?;
    }
    Ok(())
}

/// Tells where a reply came from.
pub(crate) fn cache(info: Option<&CacheInfo>, counts: Option<&CacheCounts>) {
    let Some(info) = info else { return };
    let tier = match info.tier() {
        CacheTier::L1 => "the server's memory",
        CacheTier::L2 => "Redis",
        CacheTier::Database => "the database",
        CacheTier::Unspecified => "no named tier",
    };
    let mut text = format!("cache: from {tier}");
    let duration = |duration: &prost_types::Duration| std::time::Duration::try_from(*duration).unwrap_or_default();
    if let Some(age) = &info.age {
        let _ = write!(text, ", read {:.1?} ago", duration(age));
    }
    if let Some(ttl) = &info.ttl {
        let _ = write!(text, ", expires in {:.1?}", duration(ttl));
    }
    if info.stale {
        text.push_str(", stale: the database is away");
    }
    if let Some(counts) = counts {
        let _ = write!(text, "; memory {}, Redis {}, database {}", counts.l1, counts.l2, counts.database);
    }
    note(&text);
}

fn price(price: Option<&Money>) -> String {
    price.map_or_else(String::new, |money| format!("{} {}", plain(&money.currency_code), amount::show(money)))
}

fn time(time: Option<&Timestamp>) -> String {
    time.map_or_else(String::new, ToString::to_string)
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A text that fits into its column.
fn cut(text: &str) -> String {
    if text.width() <= WIDEST {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut width = 0;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width >= WIDEST {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_wide_text_is_cut_to_its_column() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(80)).width(), WIDEST);
        assert!(cut(&"茶".repeat(80)).width() <= WIDEST);
    }
}
