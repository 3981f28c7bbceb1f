//! Products in requests.

use std::{collections::BTreeSet, fmt};

use larder_proto::{catalog, google_type};
use larder_storage::{Money, ProductData, ProductMask};
use prost_types::FieldMask;

use super::Violations;

const MAX_ID: usize = 64;
const MAX_NAME: usize = 512;
const MAX_DESCRIPTION: usize = 65_536;
const MAX_TERMS: usize = 64;
const MAX_TERM: usize = 128;
const MAX_ATTRIBUTES: usize = 128;
const MAX_ATTRIBUTE_VALUE: usize = 4_096;
const MAX_IMAGE_URL: usize = 2_048;
const MAX_NANOS: i32 = 999_999_999;

/// A product's id: 1 to 64 characters of `A-Z a-z 0-9 . _ ~ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductId(String);

impl ProductId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a required id.
pub fn parse_id(field: &str, id: String) -> Result<ProductId, Violations> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    if id.is_empty() {
        Err(Violations::one(field, "is required"))
    } else if id.len() > MAX_ID || !id.bytes().all(allowed) {
        Err(Violations::one(field, "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -"))
    } else {
        Ok(ProductId(id))
    }
}

/// Parses a version from an etag; `None` when there is no etag. An etag that Larder did not make matches no version.
pub fn parse_etag(etag: &str) -> Option<i64> {
    if etag.is_empty() {
        return None;
    }
    let version = i64::from_str_radix(etag, 16).ok().filter(|version| format!("{version:x}") == etag);
    Some(version.unwrap_or(-1))
}

/// Parses a product to import, whose id is required.
pub fn parse_import(product: catalog::Product) -> Result<(String, ProductData), Violations> {
    let mut violations = Violations::default();
    let mut product = product;
    let id = violations.take(parse_id("id", std::mem::take(&mut product.id)));
    let data = violations.take(parse_product("", product, ProductMask::ALL));
    match (id, data) {
        (Some(id), Some(data)) => violations.or((id.into_string(), data)),
        _ => Err(violations),
    }
}

/// Parses the fields that `mask` names. `prefix` stands before the names of fields.
pub fn parse_product(prefix: &str, product: catalog::Product, mask: ProductMask) -> Result<ProductData, Violations> {
    let mut violations = Violations::default();
    let field = |name: &str| format!("{prefix}{name}");
    if mask.name {
        if product.name.trim().is_empty() {
            violations.add(field("name"), "is required");
        }
        check_text(&mut violations, field("name"), &product.name, MAX_NAME);
    }
    if mask.description {
        check_text(&mut violations, field("description"), &product.description, MAX_DESCRIPTION);
    }
    let price = match product.price {
        Some(price) if mask.price => violations.take(parse_money(&field("price"), price)),
        _ => None,
    };
    if mask.categories {
        check_terms(&mut violations, &field("categories"), &product.categories);
    }
    if mask.tags {
        check_terms(&mut violations, &field("tags"), &product.tags);
    }
    if mask.attributes {
        if product.attributes.len() > MAX_ATTRIBUTES {
            violations.add(field("attributes"), format!("must hold at most {MAX_ATTRIBUTES} entries"));
        }
        for (key, value) in &product.attributes {
            if key.is_empty() {
                violations.add(field("attributes"), "must not hold an empty key");
            }
            check_text(&mut violations, format!("{prefix}attributes[{}]", shown(key)), key, MAX_TERM);
            check_text(&mut violations, format!("{prefix}attributes[{}]", shown(key)), value, MAX_ATTRIBUTE_VALUE);
        }
    }
    if mask.image_url {
        check_text(&mut violations, field("image_url"), &product.image_url, MAX_IMAGE_URL);
    }
    violations.or(ProductData {
        name: product.name,
        description: product.description,
        price,
        categories: product.categories,
        tags: product.tags,
        attributes: product.attributes,
        image_url: product.image_url,
        in_stock: product.in_stock,
    })
}

/// Parses an amount of money.
pub(super) fn parse_money(field: &str, money: google_type::Money) -> Result<Money, Violations> {
    let mut violations = Violations::default();
    if !is_currency(&money.currency_code) {
        violations.add(format!("{field}.currency_code"), "must be three capital letters of ISO 4217");
    }
    check_amount(&mut violations, field, &money);
    violations.or(Money { currency: money.currency_code, units: money.units, nanos: money.nanos })
}

/// Checks an amount, whatever its currency.
pub(super) fn check_amount(violations: &mut Violations, field: &str, money: &google_type::Money) {
    if money.units < 0 {
        violations.add(format!("{field}.units"), "must not be negative");
    }
    if !(0..=MAX_NANOS).contains(&money.nanos) {
        violations.add(format!("{field}.nanos"), "must be from 0 to 999,999,999");
    }
}

/// Whether text has the form of a currency code.
pub(super) fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Parses a mask. `*` names every field; an empty mask names the fields that are populated.
pub fn parse_mask(mask: Option<FieldMask>, product: &catalog::Product) -> Result<ProductMask, Violations> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Ok(populated(product));
    }
    let mut violations = Violations::default();
    let mut parsed = ProductMask::default();
    for (number, path) in paths.iter().enumerate() {
        match path.as_str() {
            "*" => parsed = ProductMask::ALL,
            "name" => parsed.name = true,
            "description" => parsed.description = true,
            "price" => parsed.price = true,
            "categories" => parsed.categories = true,
            "tags" => parsed.tags = true,
            "attributes" => parsed.attributes = true,
            "image_url" => parsed.image_url = true,
            "in_stock" => parsed.in_stock = true,
            other => {
                let rule = match other {
                    "id" | "create_time" | "update_time" | "etag" => "names a field that cannot be changed",
                    _ if other.starts_with("attributes.") => "must not enter attributes; replace them as a whole",
                    _ if other.starts_with("price.") => "must not enter price; replace it as a whole",
                    _ => "names no field of Product",
                };
                violations.add(format!("update_mask.paths[{number}]"), format!("{} {rule}", shown(other)));
            }
        }
    }
    violations.or(parsed)
}

fn populated(product: &catalog::Product) -> ProductMask {
    ProductMask {
        name: !product.name.is_empty(),
        description: !product.description.is_empty(),
        price: product.price.is_some(),
        categories: !product.categories.is_empty(),
        tags: !product.tags.is_empty(),
        attributes: !product.attributes.is_empty(),
        image_url: !product.image_url.is_empty(),
        in_stock: product.in_stock,
    }
}

/// The databases cannot hold a zero byte in text.
pub(super) fn check_text(violations: &mut Violations, field: String, text: &str, max: usize) {
    if text.len() > max {
        violations.add(field, format!("must be at most {max} bytes, is {}", text.len()));
    } else if text.contains('\0') {
        violations.add(field, "must not contain a zero character");
    }
}

fn check_terms(violations: &mut Violations, field: &str, terms: &[String]) {
    if terms.len() > MAX_TERMS {
        violations.add(field, format!("must hold at most {MAX_TERMS} entries, holds {}", terms.len()));
        return;
    }
    let mut seen = BTreeSet::new();
    for (number, term) in terms.iter().enumerate() {
        let field = format!("{field}[{number}]");
        if term.is_empty() {
            violations.add(field, "must not be empty");
        } else if !seen.insert(term) {
            violations.add(field, format!("repeats {}", shown(term)));
        } else {
            check_text(violations, field, term, MAX_TERM);
        }
    }
}

/// Checks a single category or tag.
pub fn parse_term(field: &str, term: &str) -> Result<(), Violations> {
    let mut violations = Violations::default();
    if term.is_empty() {
        violations.add(field, "must not be empty");
    }
    check_text(&mut violations, field.into(), term, MAX_TERM);
    violations.or(())
}

/// Text from a request, shortened for an error.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> catalog::Product {
        catalog::Product { id: "a".into(), name: "A".into(), ..Default::default() }
    }

    fn rules(result: Result<ProductData, Violations>) -> Vec<String> {
        result.err().map(|v| v.named().iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
    }

    #[test]
    fn every_broken_rule_is_named() {
        let bad = catalog::Product {
            name: " ".into(),
            description: "x".repeat(MAX_DESCRIPTION + 1),
            price: Some(google_type::Money { currency_code: "eur".into(), units: -1, nanos: 1_000_000_000 }),
            categories: vec![String::new(), "a".into(), "a".into()],
            tags: vec!["t\0".into()],
            attributes: [(String::new(), String::new())].into(),
            image_url: "x".repeat(MAX_IMAGE_URL + 1),
            ..product()
        };
        let fields = rules(parse_product("product.", bad, ProductMask::ALL));
        let expected = [
            "name",
            "description",
            "price.currency_code",
            "price.units",
            "price.nanos",
            "categories[0]",
            "categories[2]",
            "tags[0]",
            "attributes",
            "image_url",
        ];
        assert_eq!(fields, expected.map(|name| format!("product.{name}")));
    }

    #[test]
    fn fields_outside_the_mask_are_not_looked_at() {
        let mask = ProductMask { in_stock: true, ..Default::default() };
        let bad = catalog::Product { name: String::new(), ..product() };
        assert_eq!(rules(parse_product("", bad, mask)), Vec::<String>::new());
    }

    #[test]
    fn ids_keep_to_their_alphabet() {
        for good in ["a", "A-b_c.d~9", &"x".repeat(64)] {
            assert!(parse_id("id", good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "ä", "a/b", "a\0", &"x".repeat(65)] {
            assert!(parse_id("id", bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_foreign_etag_is_that_of_no_version() {
        assert_eq!(parse_etag(""), None);
        assert_eq!(parse_etag("1f"), Some(31));
        for foreign in ["1F", "+1f", "01f", "x", "\"1f\""] {
            assert_eq!(parse_etag(foreign), Some(-1), "{foreign}");
        }
    }

    #[test]
    fn masks_name_fields() {
        let mask = |paths: &[&str]| {
            let paths = paths.iter().map(|&path| path.to_owned()).collect();
            parse_mask(Some(FieldMask { paths }), &product())
        };
        assert_eq!(mask(&["*"]), Ok(ProductMask::ALL));
        assert_eq!(mask(&[]), Ok(ProductMask { name: true, ..Default::default() }));
        assert_eq!(mask(&["in_stock"]), Ok(ProductMask { in_stock: true, ..Default::default() }));
        for bad in ["id", "etag", "attributes.colour", "nonsense", ""] {
            assert!(mask(&["name", bad]).is_err(), "{bad}");
        }
    }
}
