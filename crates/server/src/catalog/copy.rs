//! What the catalogue keeps copies of.

use bytes::Bytes;
use larder_cache::Value;
use larder_proto::catalog;
use prost::Message as _;

/// A copy.
#[derive(Debug, Clone)]
pub enum Copy {
    /// A product, encoded once when it was loaded.
    Product(Bytes),
    /// A page of a list or a search.
    Page(PageCopy),
}

/// The ids on a page, in order; the products come from their own copies.
#[derive(Debug, Clone)]
pub struct PageCopy {
    /// The ids.
    pub ids: Vec<Box<str>>,
    /// The token of the next page; `None` on the last.
    pub next: Option<Box<str>>,
    /// How many products match on all pages, if it was asked for.
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
            Self::Page(page) => {
                let ids: usize = page.ids.iter().map(|id| id.len() + size_of::<Box<str>>()).sum();
                ids + page.next.as_ref().map_or(0, |next| next.len())
            }
        }
    }

    /// Looks into the encoded product: that costs more than a list of tags beside it would, but only when a tag has been
    /// invalidated, and saves that memory on every copy. A page does not know the tags of its products.
    fn tagged(&self, tag: &str) -> bool {
        match self {
            Self::Product(bytes) => {
                catalog::Product::decode(bytes.clone()).map_or(true, |product| product.tags.iter().any(|t| t == tag))
            }
            Self::Page(_) => true,
        }
    }
}
