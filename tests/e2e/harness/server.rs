//! A server inside the test.

use std::{net::SocketAddr, time::Duration};

use larder_cache::{Clock, Freshness, Stats};
use larder_proto::catalog::{
    CreateProductRequest, CreateProductResponse, DeleteProductRequest, GetProductRequest, GetProductResponse,
    ImportProductsRequest, ImportProductsResponse, Product, ReadOptions, UpdateProductRequest, UpdateProductResponse,
    product_catalog_client::ProductCatalogClient,
};
use larder_server::{app::Running, config::Config};
use prost_types::FieldMask;
use tokio::runtime::{Builder, Runtime};
use tonic::{Status, transport::Channel};

use super::Database;

/// A plain generated client.
pub(crate) type Client = ProductCatalogClient<Channel>;

/// A server started by the builder of the program, on a free port and a runtime of its own.
pub(crate) struct Server {
    running: Option<Running>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    channel: Channel,
}

impl Server {
    /// Starts a server with the defaults.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// Starts a server whose configuration `change` has changed.
    pub(crate) async fn start_with(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(database, Clock::system(), change).await
    }

    /// Starts a server whose cache goes by another clock.
    pub(crate) async fn start_at(database: &Database, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.admin_listen = Some(config.server.listen);
        config.server.http_listen = Some(config.server.listen);
        config.storage.url = database.url();
        // Tests ask whether a copy is gone: what was read often would be there again before anybody asks.
        config.cache.prefetch = 0.0;
        // On a busy machine a healthy database takes long.
        config.cache.load_timeout = Duration::from_secs(20);
        change(&mut config);
        let secured = config.security.tls.certificate.is_some();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("e2e-server")
            .enable_all()
            .build()
            .expect("a runtime for the server");
        let started = runtime.spawn(Running::start(config, clock)).await;
        let running = started.expect("the server's start not to panic").expect("the server to start");
        let channel = if secured { lazily(running.address()) } else { connect(running.address()).await };
        Self { running: Some(running), runtime: Some(runtime), channel }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().address()
    }

    /// Where it serves HTTP.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.running().http_address().expect("an address for HTTP")
    }

    /// The server itself.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("a server that runs")
    }

    /// What its cache has counted.
    pub(crate) fn stats(&self) -> Stats {
        self.running().catalog().cache().stats()
    }

    /// Waits until the server has read every change so far in the change log. Its own ones it learns twice, once when it
    /// makes them; what was read in between is read again.
    pub(crate) async fn settle(&self) {
        let cache = self.running().catalog().cache();
        cache.reach(Freshness::FullyConsistent).await.expect("a look at the change log");
    }

    /// A connection that all clients of the test share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    /// Creates a product.
    pub(crate) async fn create(&self, product: Product) -> CreateProductResponse {
        let request = CreateProductRequest { product: Some(product), ..Default::default() };
        self.client().create_product(request).await.expect("the product to be created").into_inner()
    }

    /// Changes the fields of a product that the paths name.
    pub(crate) async fn update(&self, product: Product, paths: &[&str]) -> UpdateProductResponse {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let update_mask = Some(FieldMask { paths });
        let request = UpdateProductRequest { product: Some(product), update_mask, ..Default::default() };
        self.client().update_product(request).await.expect("the product to be changed").into_inner()
    }

    /// Deletes a product and returns the token.
    pub(crate) async fn delete(&self, id: &str) -> String {
        let request = DeleteProductRequest { id: id.to_owned(), ..Default::default() };
        self.client().delete_product(request).await.expect("the product to be deleted").into_inner().token
    }

    /// Imports products, and returns the last report.
    pub(crate) async fn import(&self, products: impl IntoIterator<Item = Product>) -> ImportProductsResponse {
        let requests: Vec<_> =
            products.into_iter().map(|product| ImportProductsRequest { product: Some(product), line: 0 }).collect();
        let stream = self.client().import_products(tokio_stream::iter(requests)).await.expect("an import");
        let mut stream = stream.into_inner();
        let mut last = ImportProductsResponse::default();
        while let Some(report) = stream.message().await.expect("the import to go on") {
            last = report;
        }
        last
    }

    /// Reads a product that is there.
    pub(crate) async fn get(&self, id: &str) -> GetProductResponse {
        self.read(id, None).await.expect("the product to be read")
    }

    /// Reads a product.
    pub(crate) async fn read(&self, id: &str, read: Option<ReadOptions>) -> Result<GetProductResponse, Status> {
        let request = GetProductRequest { id: id.to_owned(), read };
        Ok(self.client().get_product(request).await?.into_inner())
    }

    /// Stops it as SIGTERM does, and returns when everything has ended.
    pub(crate) async fn stop(mut self) {
        let (running, runtime) = (self.running.take(), self.runtime.as_ref());
        if let (Some(running), Some(runtime)) = (running, runtime) {
            runtime.spawn(running.stop()).await.expect("the server to stop");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be awaited where another one runs.
            runtime.shutdown_background();
        }
    }
}

/// A channel that connects when it is first used, which it never is where the server speaks TLS.
fn lazily(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
}

/// Connects to a server.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection to the server")
}
