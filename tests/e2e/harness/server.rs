//! A server inside the test.

use std::net::SocketAddr;

use larder_cache::{Clock, Stats};
use larder_proto::catalog::{
    CreateProductRequest, CreateProductResponse, GetProductRequest, GetProductResponse, Product, ReadOptions,
    product_catalog_client::ProductCatalogClient,
};
use larder_server::{app::Running, config::Config};
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
        config.storage.url = database.url();
        change(&mut config);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("e2e-server")
            .enable_all()
            .build()
            .expect("a runtime for the server");
        let started = runtime.spawn(Running::start(config, clock)).await;
        let running = started.expect("the server's start not to panic").expect("the server to start");
        let channel = connect(running.address()).await;
        Self { running: Some(running), runtime: Some(runtime), channel }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().address()
    }

    /// The server itself.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("a server that runs")
    }

    /// What its cache has counted.
    pub(crate) fn stats(&self) -> Stats {
        self.running().catalog().cache().stats()
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

/// Connects to a server.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection to the server")
}
