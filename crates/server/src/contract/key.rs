//! The names of copies, as replies show them and as operators type them.

use larder_cache::Key;
use larder_change::ANY;
use larder_storage::Filter;

use super::{ProductId, Violations, page::term, parse_id};

/// The key of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyKey {
    /// The key of a product.
    Product(ProductId),
    /// The key of a page: of a list, with the term that it depends on, or of a search.
    Page(Key),
}

/// The prefix of the names of products. No id contains its colon.
pub(crate) const PRODUCT_PREFIX: &str = "product:";
const LONGEST: usize = 8 << 10;
const RULE: &str = "must be product:ID, list:... or search:... as x-cache-key tells it, or the id of a product";

impl CopyKey {
    /// The key by which the cache knows the copy.
    pub fn key(&self) -> Key {
        match self {
            Self::Product(id) => Key::item(product_name(id.as_str())),
            Self::Page(key) => key.clone(),
        }
    }
}

/// The name of a product's copy.
pub(crate) fn product_name(id: &str) -> String {
    format!("{PRODUCT_PREFIX}{id}")
}

/// Parses the name of a copy, or the id of a product.
pub fn parse_key(field: &str, text: &str) -> Result<CopyKey, Violations> {
    if text.is_empty() {
        return Err(Violations::one(field, "is required"));
    }
    if text.len() > LONGEST {
        return Err(Violations::one(field, format!("must be at most {LONGEST} bytes long, is {}", text.len())));
    }
    match text.split_once(':') {
        None => product(field, text),
        Some(("product", id)) => product(field, id),
        Some(("list", meaning)) => Ok(CopyKey::Page(Key::list(text, term(&filter(meaning))))),
        Some(("search", _)) => Ok(CopyKey::Page(Key::list(text, ANY))),
        Some(_) => Err(Violations::one(field, RULE)),
    }
}

fn product(field: &str, id: &str) -> Result<CopyKey, Violations> {
    parse_id(field, id.to_owned()).map(CopyKey::Product).map_err(|_| Violations::one(field, RULE))
}

/// The part of a list's filter, as its name has it, on which the list depends.
fn filter(meaning: &str) -> Filter {
    let value =
        |name: &str| meaning.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(unescape);
    Filter { category: value("category"), tag: value("tag"), ..Filter::default() }
}

/// Reads a part of a name, in which characters with a meaning are escaped.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.split_at_checked(2))
            .flatten()
            .and_then(|(digits, after)| Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, after)));
        let (byte, after) = escaped.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use larder_proto::serving::{ListProductsRequest, ProductFilter, SearchProductsRequest};

    use super::*;
    use crate::contract::{parse_list, parse_search};

    #[test]
    fn names_of_lists_tell_what_they_depend_on() {
        for (category, tag) in [("", ""), ("käse & co=%", ""), ("", "new"), ("a", "b"), ("tag=b", "")] {
            let filter = ProductFilter { category: category.into(), tag: tag.into(), ..Default::default() };
            let request = ListProductsRequest { filter: Some(filter), ..Default::default() };
            let request = parse_list(request).expect("a right request");
            let key = parse_key("key", &request.key).expect("a right key").key();
            assert_eq!(key, Key::list(request.key.as_str(), request.term.as_str()));
        }
        let request = SearchProductsRequest { query: "copper: a b".into(), ..Default::default() };
        let name = parse_search(request).expect("a right request").key;
        assert_eq!(parse_key("key", &name).expect("a right key").key(), Key::list(name.as_str(), ANY));
    }

    #[test]
    fn products_go_by_their_name_or_their_id() {
        let key = Key::item("product:a-1");
        assert_eq!(parse_key("key", "product:a-1").map(|key| key.key()), Ok(key.clone()));
        assert_eq!(parse_key("key", "a-1").map(|key| key.key()), Ok(key));
        for bad in
            ["", "product:", "product:ä", "other:a", "a b", &"x".repeat(65), &format!("list:{}", "x".repeat(9_000))]
        {
            assert!(parse_key("key", bad).is_err(), "{bad}");
        }
    }
}
