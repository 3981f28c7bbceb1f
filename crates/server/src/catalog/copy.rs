//! The copies of the catalogue.

use bytes::Bytes;
use larder_cache::{Facts, Value};
use larder_change::Term;
use larder_proto::catalog;
use prost::Message as _;

use crate::contract::parse_etag;

/// A copy.
#[derive(Debug, Clone)]
pub enum Copy {
    /// A product, encoded once when it was loaded.
    Product(Bytes),
    /// A page of a list or a search.
    Page(PageCopy),
    /// The fact that the row of a product, given by its id, cannot be read.
    Unreadable(Box<str>),
}

/// The ids on a page, in order; the products come from their own copies.
#[derive(Debug, Clone)]
pub struct PageCopy {
    /// The ids.
    pub ids: Vec<Box<str>>,
    /// The token of the next page; `None` on the last.
    pub next: Option<Box<str>>,
    /// How many products match on all pages, if the request asks for it.
    pub total: Option<i64>,
}

impl PageCopy {
    /// A page.
    pub fn new(ids: Vec<String>, next: Option<String>, total: Option<i64>) -> Self {
        Self { ids: ids.into_iter().map(Into::into).collect(), next: next.map(Into::into), total }
    }
}

impl Value for Copy {
    fn bytes(&self) -> usize {
        match self {
            Self::Product(bytes) => bytes.len(),
            Self::Unreadable(id) => id.len(),
            Self::Page(page) => {
                let ids: usize = page.ids.iter().map(|id| id.len() + size_of::<Box<str>>()).sum();
                ids + page.next.as_ref().map_or(0, |next| next.len())
            }
        }
    }

    /// Reads the terms from the encoded product. That costs more than a list beside the product, but only when a term was
    /// invalidated, and every copy saves the memory of a list. A page does not know the terms of its products.
    fn has(&self, term: &str) -> bool {
        let (Self::Product(bytes), Some(term)) = (self, Term::parse(term)) else { return true };
        catalog::Product::decode(bytes.clone()).map_or(true, |product| terms(&product).any(|has| has == term))
    }

    /// A product contains its version, its categories and its tags.
    fn facts(&self) -> Facts {
        let Self::Product(bytes) = self else { return Facts::default() };
        let Ok(product) = catalog::Product::decode(bytes.clone()) else { return Facts::default() };
        Facts {
            version: parse_etag(&product.etag).unwrap_or(0),
            terms: terms(&product).map(|term| term.to_string()).collect(),
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Self::Product(bytes) => bytes.clone(),
            Self::Page(page) => StoredPage {
                ids: page.ids.iter().map(ToString::to_string).collect(),
                next: page.next.as_ref().map(ToString::to_string),
                total: page.total,
            }
            .encode_to_vec()
            .into(),
            Self::Unreadable(_) => Bytes::new(),
        }
    }

    fn is_shared(&self) -> bool {
        !matches!(self, Self::Unreadable(_))
    }

    fn decode(bytes: Bytes, list: bool) -> Option<Self> {
        if list {
            let StoredPage { ids, next, total } = StoredPage::decode(bytes).ok()?;
            return Some(Self::Page(PageCopy::new(ids, next, total)));
        }
        Some(Self::Product(bytes))
    }
}

fn terms(product: &catalog::Product) -> impl Iterator<Item = Term<&str>> {
    let categories = product.categories.iter().map(|category| Term::Category(category.as_str()));
    categories.chain(product.tags.iter().map(|tag| Term::Tag(tag.as_str())))
}

/// A page in the form that other replicas read.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredPage {
    #[prost(string, repeated, tag = "1")]
    ids: Vec<String>,
    #[prost(string, optional, tag = "2")]
    next: Option<String>,
    #[prost(int64, optional, tag = "3")]
    total: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        let page = PageCopy::new(vec!["a".to_owned(), "b".to_owned()], Some("next".to_owned()), Some(7));
        let stored = Copy::Page(page).encode();
        let Some(Copy::Page(page)) = Copy::decode(stored, true) else { panic!("no page") };
        assert_eq!((page.ids.len(), page.next.as_deref(), page.total), (2, Some("next"), Some(7)));

        let product = catalog::Product {
            etag: "1f".to_owned(),
            categories: vec!["c".to_owned()],
            tags: vec!["t".to_owned()],
            ..Default::default()
        };
        let copy = Copy::Product(product.encode_to_vec().into());
        assert_eq!(copy.facts(), Facts { version: 0x1f, terms: vec!["category:c".to_owned(), "tag:t".to_owned()] });
        let has = ["category:c", "tag:t", "category:t", "tag:c", "any"].map(|term| copy.has(term));
        assert_eq!(has, [true, true, false, false, true], "of what it cannot read it says yes");
        assert!(matches!(Copy::decode(copy.encode(), false), Some(Copy::Product(bytes)) if bytes == copy.encode()));
    }
}
