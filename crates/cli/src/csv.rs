//! Products as CSV (RFC 4180, UTF-8), one product a row under a header, as Larder writes them. Imports read more than this:
//! `import/columns.rs`.
//!
//! | column | what it holds |
//! | --- | --- |
//! | `id`, `name` | as they are; both columns are required |
//! | `description`, `image_url` | as they are |
//! | `price_currency`, `price_amount` | `EUR` and exact decimal text such as `12.50`; both empty: no price |
//! | `categories`, `tags` | entries separated by `\|`; a `\|` within an entry is written `\\|`, a `\\` is written `\\\\` |
//! | `attributes` | a JSON object of texts; empty: none |
//! | `in_stock` | `true` or `false`; empty: false |

use larder_proto::catalog::Product;

use super::amount;

/// The columns in the order of exports. Imports accept any order.
pub(crate) const COLUMNS: [&str; 10] = [
    "id",
    "name",
    "description",
    "price_currency",
    "price_amount",
    "categories",
    "tags",
    "attributes",
    "image_url",
    "in_stock",
];

/// The header of exports, with its line end.
pub(crate) fn header() -> String {
    COLUMNS.join(",") + "\n"
}

/// Writes the row of a product, with its line end. Times and etag have no column.
pub(crate) fn row(product: &Product) -> String {
    let (currency, amount) = match &product.price {
        Some(price) => (price.currency_code.clone(), amount::show(price)),
        None => Default::default(),
    };
    let attributes = if product.attributes.is_empty() {
        String::new()
    } else {
        serde_json::Value::from_iter(product.attributes.clone()).to_string()
    };
    let fields = [
        product.id.as_str(),
        &product.name,
        &product.description,
        &currency,
        &amount,
        &joined(&product.categories),
        &joined(&product.tags),
        &attributes,
        &product.image_url,
        if product.in_stock { "true" } else { "false" },
    ];
    let mut row = csv::Writer::from_writer(Vec::new());
    row.write_record(fields).expect("memory takes every row of as many fields as the one before");
    let row = row.into_inner().expect("memory can be flushed");
    String::from_utf8(row).expect("fields of text make a row of text")
}

/// Splits a list into its entries.
pub(crate) fn entries(text: &str, separator: char) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut entries = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped = match c {
            '\\' => characters.next_if(|next| *next == separator || *next == '\\'),
            _ => None,
        };
        if c == separator {
            entries.push(String::new());
        } else if let Some(entry) = entries.last_mut() {
            entry.push(escaped.unwrap_or(c));
        }
    }
    entries
}

fn joined(entries: &[String]) -> String {
    let escaped: Vec<String> = entries.iter().map(|entry| entry.replace('\\', "\\\\").replace('|', "\\|")).collect();
    escaped.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_quoted_where_they_must_be() {
        let product = Product {
            id: "a".into(),
            name: "A \"b\", c".into(),
            description: "1\n2".into(),
            categories: vec!["x|y".into(), "z".into()],
            ..Product::default()
        };
        assert_eq!(row(&product), "a,\"A \"\"b\"\", c\",\"1\n2\",,,x\\|y|z,,,,false\n");
    }

    #[test]
    fn entries_are_separated_and_may_hold_the_separator() {
        assert_eq!(entries("a\\b|c\\|d\\\\|", '|'), ["a\\b", "c|d\\", ""]);
        assert_eq!(entries("A > B, C\\, D", ','), ["A > B", " C, D"]);
        assert!(entries("", '|').is_empty());
    }
}
