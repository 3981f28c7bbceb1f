//! Products as CSV (RFC 4180, UTF-8), one product a row under a header.
//!
//! | column | what it holds |
//! | --- | --- |
//! | `id`, `name` | as they are; both columns are required |
//! | `description`, `image_url` | as they are |
//! | `price_currency`, `price_amount` | `EUR` and exact decimal text such as `12.50`; both empty: no price |
//! | `categories`, `tags` | entries separated by `\|`; a `\|` within an entry is written `\\|`, a `\\` is written `\\\\` |
//! | `attributes` | a JSON object of texts; empty: none |
//! | `in_stock` | `true` or `false`; empty: false |

use std::{collections::BTreeMap, fmt::Write as _};

use larder_proto::catalog::Product;

use super::amount;
use crate::config::value;

/// The columns, in the order in which they are written. They are read in any order.
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
const REQUIRED: [&str; 2] = ["id", "name"];

/// Where each column stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    places: [Option<usize>; COLUMNS.len()],
    fields: usize,
}

impl Header {
    /// Reads the header of a file.
    pub(crate) fn read(fields: &[String]) -> Result<Self, String> {
        let mut places = [None; COLUMNS.len()];
        let mut unknown = Vec::new();
        for (place, name) in fields.iter().map(|name| name.trim()).enumerate() {
            match COLUMNS.iter().position(|column| *column == name) {
                Some(column) if places[column].is_some() => {
                    return Err(format!("the column {name} stands there twice"));
                }
                Some(column) => places[column] = Some(place),
                None => unknown.push(format!("{name:?}")),
            }
        }
        if !unknown.is_empty() {
            return Err(format!("unknown columns: {}", unknown.join(", ")));
        }
        let has = |name: &str| COLUMNS.iter().zip(&places).any(|(column, place)| *column == name && place.is_some());
        let missing: Vec<&str> = REQUIRED.into_iter().filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            return Err(format!("required columns are missing: {}", missing.join(", ")));
        }
        Ok(Self { places, fields: fields.len() })
    }

    /// Reads the product of a row.
    pub(crate) fn product(&self, mut fields: Vec<String>) -> Result<Product, String> {
        if fields.len() != self.fields {
            return Err(format!("the row has {} fields, the header has {}", fields.len(), self.fields));
        }
        let mut field =
            |column: usize| self.places[column].map(|at| std::mem::take(&mut fields[at])).unwrap_or_default();
        let [id, name, description, currency, amount, categories, tags, attributes, image_url, in_stock] =
            std::array::from_fn(&mut field);
        let price = match (currency.as_str(), amount.as_str()) {
            ("", "") => None,
            ("", _) => return Err("price_currency: is empty, but there is a price_amount".to_owned()),
            (_, "") => return Err("price_amount: is empty, but there is a price_currency".to_owned()),
            (currency, text) => Some(amount::read(text, currency).map_err(|reason| format!("price_amount: {reason}"))?),
        };
        let in_stock = match in_stock.as_str() {
            "" => false,
            text => value::boolean(text).map_err(|invalid| format!("in_stock: {text:?} is {}", invalid.reason))?,
        };
        let attributes: BTreeMap<String, String> = match attributes.as_str() {
            "" => BTreeMap::new(),
            text => serde_json::from_str(text)
                .map_err(|error| format!("attributes: not a JSON object of texts: {error}"))?,
        };
        Ok(Product {
            id,
            name,
            description,
            price,
            categories: entries(&categories),
            tags: entries(&tags),
            attributes,
            image_url,
            in_stock,
            ..Product::default()
        })
    }
}

/// Whether a row goes on in the next line, found out line by line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Quotes {
    #[default]
    FieldStart,
    Bare,
    Quoted,
    Closed,
}

impl Quotes {
    /// Takes note of the next bytes of the row.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            *self = match (*self, byte) {
                (Self::Quoted, b'"') => Self::Closed,
                (Self::FieldStart | Self::Closed, b'"') | (Self::Quoted, _) => Self::Quoted,
                (_, b',') => Self::FieldStart,
                _ => Self::Bare,
            };
        }
    }

    /// Whether a quote is open.
    pub(crate) fn open(self) -> bool {
        self == Self::Quoted
    }
}

/// Takes a row apart, which has no line's end any more and no quote left open.
pub(crate) fn split(row: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::with_capacity(COLUMNS.len());
    let mut rest = row;
    loop {
        let number = fields.len() + 1;
        let after = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                fields.push(rest[..end].to_owned());
                &rest[end..]
            }
            Some(quoted) => {
                let mut field = String::new();
                let mut quoted = quoted;
                loop {
                    let Some((text, after)) = quoted.split_once('"') else {
                        return Err(format!("field {number}: a quote is opened and not closed"));
                    };
                    field.push_str(text);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            quoted = more;
                        }
                        None => {
                            fields.push(field);
                            break after;
                        }
                    }
                }
            }
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(format!("field {number}: there is text after the closing quote")),
        }
    }
}

/// The header as it is written, with the line's end.
pub(crate) fn header() -> String {
    COLUMNS.join(",") + "\n"
}

/// Writes the row of a product, with the line's end. Its times and its etag have no column.
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
    let mut row = String::new();
    for (number, field) in fields.into_iter().enumerate() {
        if number > 0 {
            row.push(',');
        }
        if field.contains(['"', ',', '\n', '\r']) || field.starts_with(' ') || field.ends_with(' ') {
            let _ = write!(row, "\"{}\"", field.replace('"', "\"\""));
        } else {
            row.push_str(field);
        }
    }
    row.push('\n');
    row
}

fn entries(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut entries = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped = match c {
            '\\' => characters.next_if(|next| matches!(next, '|' | '\\')),
            _ => None,
        };
        match (c, escaped) {
            ('|', _) => entries.push(String::new()),
            (c, escaped) => {
                if let Some(entry) = entries.last_mut() {
                    entry.push(escaped.unwrap_or(c));
                }
            }
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
    use larder_proto::google_type::Money;
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    fn standard() -> Header {
        Header::read(&COLUMNS.map(str::to_owned)).unwrap()
    }

    fn read(row: &str) -> Result<Product, String> {
        standard().product(split(row.strip_suffix('\n').unwrap_or(row))?)
    }

    fn text(rng: &mut SmallRng, least: usize) -> String {
        let pieces = ["a", "Z", "\"", ",", "\n", "\r\n", "\\", "|", "\\|", " ", "ß", "茶", "🍵", "{", "}", "'", "\t"];
        (0..rng.random_range(least..8)).map(|_| pieces[rng.random_range(0..pieces.len())]).collect()
    }

    #[test]
    fn products_come_back_as_they_went() {
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..5_000 {
            let price = rng.random_bool(0.7).then(|| Money {
                currency_code: "EUR".into(),
                units: rng.random_range(0..=i64::MAX),
                nanos: rng.random_range(0..=999_999_999),
            });
            let product = Product {
                id: text(&mut rng, 0),
                name: text(&mut rng, 0),
                description: text(&mut rng, 0),
                price,
                categories: (0..rng.random_range(0..4)).map(|_| text(&mut rng, 1)).collect(),
                tags: (0..rng.random_range(0..4)).map(|_| text(&mut rng, 1)).collect(),
                attributes: (0..rng.random_range(0..4)).map(|_| (text(&mut rng, 0), text(&mut rng, 0))).collect(),
                image_url: text(&mut rng, 0),
                in_stock: rng.random_bool(0.5),
                ..Product::default()
            };
            let row = row(&product);
            let mut quotes = Quotes::default();
            quotes.feed(row.as_bytes());
            assert!(!quotes.open(), "{row}");
            assert_eq!(read(&row), Ok(product), "{row}");
        }
    }

    #[test]
    fn columns_stand_in_any_order_and_optional_ones_may_be_missing() {
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let header = Header::read(&names("name, id ,in_stock")).unwrap();
        let product = header.product(names("Tea,t-1,yes")).unwrap();
        assert_eq!((product.id.as_str(), product.name.as_str(), product.in_stock), ("t-1", "Tea", true));
        assert_eq!(Header::read(&names("id,name,colour,size")).unwrap_err(), "unknown columns: \"colour\", \"size\"");
        assert_eq!(Header::read(&names("id,name,id")).unwrap_err(), "the column id stands there twice");
        assert_eq!(Header::read(&names("tags")).unwrap_err(), "required columns are missing: id, name");
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        for (row, reason) in [
            ("a,b", "the row has 2 fields, the header has 10"),
            ("a,b,,EUR,,,,,,", "price_amount: is empty, but there is a price_currency"),
            ("a,b,,,1.00,,,,,", "price_currency: is empty, but there is a price_amount"),
            ("a,b,,EUR,\"1,00\",,,,,", "price_amount: \"1,00\" is not an amount such as 12.50"),
            ("a,b,,,,,,,,perhaps", "in_stock: \"perhaps\" is neither true nor false"),
            ("a,\"b\"c,,,,,,,,", "field 2: there is text after the closing quote"),
            ("a,\"b", "field 2: a quote is opened and not closed"),
        ] {
            assert_eq!(read(row).unwrap_err(), reason, "{row}");
        }
        for attributes in ["[1]", "{\"\"a\"\":1}", "{", "x"] {
            let error = read(&format!("a,b,,,,,,\"{attributes}\",,")).unwrap_err();
            assert!(error.starts_with("attributes: not a JSON object of texts"), "{error}");
        }
    }

    #[test]
    fn quotes_within_a_bare_field_are_text() {
        assert_eq!(split("5\" pipe,x").unwrap(), ["5\" pipe", "x"]);
        assert_eq!(split("\"a\"\"b\",").unwrap(), ["a\"b", ""]);
        assert_eq!(entries("a\\b|c\\|d\\\\|"), ["a\\b", "c|d\\", ""]);
    }
}
