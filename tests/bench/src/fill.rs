//! Fills the real server's catalogue.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context as _, ensure};
use larder_proto::catalog::{
    ImportProductsRequest, ImportProductsResponse, product_catalog_client::ProductCatalogClient,
};
use tonic::transport::Endpoint;

use crate::products;

/// Imports `count` products and returns how many a second it took.
#[expect(clippy::cast_precision_loss, reason = "far fewer products than 2^53")]
pub(crate) async fn fill(server: SocketAddr, count: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let channel = Endpoint::from_shared(format!("http://{server}"))?.connect().await?;
    let requests = (0..count).map(|index| ImportProductsRequest { product: Some(products::product(index)), line: 0 });
    let mut progress =
        ProductCatalogClient::new(channel).import_products(tokio_stream::iter(requests)).await?.into_inner();
    let mut last = ImportProductsResponse::default();
    while let Some(report) = progress.message().await? {
        if let Some(rejected) = report.rejections.first() {
            anyhow::bail!("product {} was rejected: {}", rejected.id, rejected.reason);
        }
        last = report;
    }
    let stored = usize::try_from(last.created + last.updated + last.unchanged).context("a count")?;
    ensure!(stored == count, "{stored} products are stored instead of {count}");
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
