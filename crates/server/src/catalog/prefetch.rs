//! Prefetching: products that are loaded again before they are read.

use super::Catalog;
use crate::contract::PRODUCT_PREFIX;

impl Catalog {
    /// Loads what the cache finds worth it, some products at a time, until it is dropped. What is expected is a guess: an id that
    /// is none, or a product that is gone, does no harm.
    pub async fn prefetch(self) {
        loop {
            let names = self.cache.worth_prefetching().await;
            let ids: Vec<String> =
                names.iter().map(|name| name.strip_prefix(PRODUCT_PREFIX).unwrap_or_default().to_owned()).collect();
            self.cache.prefetch(&names, self.load_some_of(ids)).await;
        }
    }
}
