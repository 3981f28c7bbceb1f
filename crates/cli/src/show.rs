//! Products as people read them.

use std::fmt::Write as _;

use larder_proto::{
    catalog::{CacheCounts, CacheInfo, CacheTier, Product},
    google_type::Money,
};
use prost_types::Timestamp;

use super::{
    CliError, amount,
    error::Exit,
    output::{Output, note, plain},
    table::{Side, Table, cut},
};
use larder_server::json::{message_to_json, to_json};

/// The widest name, and the widest categories, in columns of a table; longer texts are cut.
const WIDEST: usize = 44;

/// Prints a product as one line of JSON.
pub(crate) fn json(out: &mut Output, product: &Product) -> Result<(), CliError> {
    let line =
        to_json(product).map_err(|error| CliError::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
    out.line(&line)
}

/// Prints a message of the contract, given by its full name, as one line of JSON.
pub(crate) fn message(out: &mut Output, name: &str, message: &impl prost::Message) -> Result<(), CliError> {
    let line = message_to_json(name, message)
        .map_err(|error| CliError::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
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
    // Prices are compared by their ends.
    let mut table = Table::new([
        (Side::Left, "ID"),
        (Side::Left, "NAME"),
        (Side::Right, "PRICE"),
        (Side::Left, "IN STOCK"),
        (Side::Left, "CATEGORIES"),
    ]);
    for product in products {
        table.row([
            plain(&product.id).into_owned(),
            cut(&plain(&product.name), WIDEST),
            price(product.price.as_ref()),
            yes_or_no(product.in_stock).to_owned(),
            cut(&plain(&product.categories.join(", ")), WIDEST),
        ]);
    }
    for line in table.lines() {
        out.line(&line)?;
    }
    Ok(())
}

/// Prints the tier of a reply.
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

/// A price with its currency; empty without a price.
pub(crate) fn price(price: Option<&Money>) -> String {
    price.map_or_else(String::new, |money| format!("{} {}", plain(&money.currency_code), amount::show(money)))
}

fn time(time: Option<&Timestamp>) -> String {
    time.map_or_else(String::new, ToString::to_string)
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
