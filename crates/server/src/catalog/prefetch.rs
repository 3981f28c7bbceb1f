//! Prefetching: products that are loaded again before they are read.

use super::Catalog;
use crate::contract::PRODUCT_PREFIX;

impl Catalog {
    /// Loads the products that the cache suggests, some at a time, until the future is dropped. The suggestions are guesses: an
    /// invalid id or an absent product does no harm.
    pub async fn prefetch(self) {
        loop {
            let names = self.cache.worth_prefetching().await;
            let ids: Vec<String> =
                names.iter().map(|name| name.strip_prefix(PRODUCT_PREFIX).unwrap_or_default().to_owned()).collect();
            self.cache.prefetch(&names, self.load_some_of(ids)).await;
        }
    }
}
