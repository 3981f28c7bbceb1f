//! The bare server: stock tonic on the runtime of the real one, answering ready bytes from memory, with no cache at all.
//!
//! What it costs is what gRPC costs here; what the real server costs beyond it is the service.

use std::{fs, io, net::SocketAddr, path::Path, pin::Pin};

use anyhow::Context as _;
use bytes::Bytes;
use larder_proto::{
    Product, catalog,
    serving::{
        BatchGetProductsRequest, BatchGetProductsResponse, CacheInfo, CreateProductRequest, CreateProductResponse,
        DeleteProductRequest, DeleteProductResponse, GetProductRequest, GetProductResponse, ImportProductsRequest,
        ImportProductsResponse, ListProductsRequest, ListProductsResponse, SearchProductsRequest,
        SearchProductsResponse, UpdateProductRequest, UpdateProductResponse, WatchProductsRequest,
        WatchProductsResponse,
        product_catalog_server::{ProductCatalog, ProductCatalogServer},
    },
};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{arrangement, stream::Connection};

/// The replies it gives, one for each method, whatever is asked.
#[derive(Debug, Clone)]
pub(crate) struct Replies {
    pub(crate) get: GetProductResponse,
    pub(crate) batch: BatchGetProductsResponse,
    pub(crate) list: ListProductsResponse,
}

impl Replies {
    /// Makes ready replies of messages that the real server sent, and refuses them if they would not be the same bytes.
    pub(crate) fn captured(get: &[u8], batch: &[u8], list: &[u8]) -> anyhow::Result<Self> {
        let replies = Self {
            get: ready_get(&catalog::GetProductResponse::decode(get)?)?,
            batch: ready_batch(catalog::BatchGetProductsResponse::decode(batch)?)?,
            list: ready_list(catalog::ListProductsResponse::decode(list)?)?,
        };
        anyhow::ensure!(
            replies.get.encode_to_vec() == get
                && replies.batch.encode_to_vec() == batch
                && replies.list.encode_to_vec() == list,
            "the replies taken apart and put together again are other bytes"
        );
        Ok(replies)
    }

    /// Reads what [`Replies::save`] wrote.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<Self> {
        let read = |name| fs::read(directory.join(name)).with_context(|| format!("no reply in {name}"));
        Self::captured(&read(GET)?, &read(BATCH)?, &read(LIST)?)
    }

    /// Writes the replies for another process.
    pub(crate) fn save(&self, directory: &Path) -> anyhow::Result<()> {
        fs::write(directory.join(GET), self.get.encode_to_vec())?;
        fs::write(directory.join(BATCH), self.batch.encode_to_vec())?;
        fs::write(directory.join(LIST), self.list.encode_to_vec())?;
        Ok(())
    }
}

const GET: &str = "get.reply";
const BATCH: &str = "batch.reply";
const LIST: &str = "list.reply";

/// Serves at a port of the loopback, told to `bound`, until the process ends.
pub(crate) fn serve(replies: Replies, bound: impl FnOnce(SocketAddr) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let service = ProductCatalogServer::new(Bare(replies));
    arrangement::run(bound, move |stream| serve_connection(stream, service.clone()))
}

/// Lets tonic's own server serve one connection until it ends.
async fn serve_connection(stream: TcpStream, service: ProductCatalogServer<Bare>) {
    let (connection, mut ended) = Connection::new(stream);
    // Where its incoming connections end, tonic's server returns while those it has go on.
    let incoming = tokio_stream::once(Ok::<_, io::Error>(connection)).chain(tokio_stream::pending());
    tokio::select! {
        _ = Server::builder().add_service(service).serve_with_incoming(incoming) => {}
        _ = ended.recv() => {}
    }
}

#[derive(Debug)]
struct Bare(Replies);

#[tonic::async_trait]
impl ProductCatalog for Bare {
    async fn get_product(&self, _: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        Ok(Response::new(self.0.get.clone()))
    }

    async fn batch_get_products(
        &self,
        _: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        Ok(Response::new(self.0.batch.clone()))
    }

    async fn list_products(&self, _: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        Ok(Response::new(self.0.list.clone()))
    }

    async fn search_products(
        &self,
        _: Request<SearchProductsRequest>,
    ) -> Result<Response<SearchProductsResponse>, Status> {
        Err(not_here())
    }

    async fn create_product(
        &self,
        _: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        Err(not_here())
    }

    async fn update_product(
        &self,
        _: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        Err(not_here())
    }

    async fn delete_product(
        &self,
        _: Request<DeleteProductRequest>,
    ) -> Result<Response<DeleteProductResponse>, Status> {
        Err(not_here())
    }

    type ImportProductsStream = Pin<Box<dyn Stream<Item = Result<ImportProductsResponse, Status>> + Send>>;

    async fn import_products(
        &self,
        _: Request<Streaming<ImportProductsRequest>>,
    ) -> Result<Response<Self::ImportProductsStream>, Status> {
        Err(not_here())
    }

    type WatchProductsStream = Pin<Box<dyn Stream<Item = Result<WatchProductsResponse, Status>> + Send>>;

    async fn watch_products(
        &self,
        _: Request<WatchProductsRequest>,
    ) -> Result<Response<Self::WatchProductsStream>, Status> {
        Err(not_here())
    }
}

fn not_here() -> Status {
    Status::unimplemented("the bare server only answers what is measured")
}

fn ready(product: &catalog::Product) -> Product {
    Product::Ready(Bytes::from(product.encode_to_vec()))
}

/// The same message of the server's own set.
fn serving<T: prost::Message + Default>(message: &impl prost::Message) -> anyhow::Result<T> {
    Ok(T::decode(&message.encode_to_vec()[..])?)
}

fn cache_info(info: Option<&catalog::CacheInfo>) -> anyhow::Result<Option<CacheInfo>> {
    info.map(serving).transpose()
}

fn ready_get(reply: &catalog::GetProductResponse) -> anyhow::Result<GetProductResponse> {
    Ok(GetProductResponse { product: reply.product.as_ref().map(ready), cache: cache_info(reply.cache.as_ref())? })
}

fn ready_batch(reply: catalog::BatchGetProductsResponse) -> anyhow::Result<BatchGetProductsResponse> {
    Ok(BatchGetProductsResponse {
        products: reply.products.iter().map(ready).collect(),
        missing_ids: reply.missing_ids,
        unreadable_ids: reply.unreadable_ids,
        cache: cache_info(reply.cache.as_ref())?,
        counts: reply.counts.as_ref().map(serving).transpose()?,
    })
}

fn ready_list(reply: catalog::ListProductsResponse) -> anyhow::Result<ListProductsResponse> {
    Ok(ListProductsResponse {
        products: reply.products.iter().map(ready).collect(),
        next_page_token: reply.next_page_token,
        total_size: reply.total_size,
        unreadable_ids: reply.unreadable_ids,
        cache: cache_info(reply.cache.as_ref())?,
    })
}
