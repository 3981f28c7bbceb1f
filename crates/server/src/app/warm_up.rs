//! Warming a new replica before it is ready.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::catalog::{Catalog, Warmed, Warmth};

/// Batches of products that are read at once before the server is ready.
const WARMED_AT_ONCE: usize = 4;

/// Loads the hottest products of all replicas, so that the first readers of this replica do not all wait for the database.
pub(super) async fn warm_up(catalog: &Catalog, most: usize, at_most: Duration) {
    if most == 0 || catalog.cache().shared_tier_up().is_none() {
        return;
    }
    let config = catalog.cache().config();
    let most = most.min(usize::try_from(config.l1_entries).unwrap_or(usize::MAX));
    let mut last = Warmed::default();
    let warming = async {
        while catalog.cache().shared_tier_up() == Some(false) {
            sleep(Duration::from_millis(10)).await;
        }
        let mut progress = catalog.warm(Warmth::Hottest(most), WARMED_AT_ONCE).await;
        while let Some(warmed) = progress.next().await {
            last = warmed;
            // The hottest products come first; further ones would evict them.
            if catalog.cache().stats().bytes > config.l1_bytes / 10 * 9 {
                break;
            }
        }
    };
    let complete = timeout(at_most, warming).await.is_ok();
    tracing::info!(
        complete,
        products = last.done,
        from_redis = last.from_l2,
        from_database = last.from_database,
        "warmed"
    );
}
