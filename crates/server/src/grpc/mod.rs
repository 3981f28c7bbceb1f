//! gRPC: the services, what every call goes through, and the one map of errors.

/// A generated service that takes compressed requests, and compresses its replies as it is told. Generated services have no
/// trait in common.
macro_rules! compressed {
    ($service:expr, $compression:expr) => {{
        use tonic::codec::CompressionEncoding::{Gzip, Zstd};
        let mut service = $service.accept_compressed(Gzip).accept_compressed(Zstd);
        if $compression.gzip {
            service = service.send_compressed(Gzip);
        }
        if $compression.zstd {
            service = service.send_compressed(Zstd);
        }
        service
    }};
}
pub(crate) use compressed;

mod admin;
pub(crate) mod call;
mod catalog;
mod compat;
mod errors;

use larder_proto::{
    hipstershop::product_catalog_service_server::ProductCatalogServiceServer as HipstershopServer,
    oteldemo::product_catalog_service_server::ProductCatalogServiceServer as OteldemoServer,
    serving::product_catalog_server::ProductCatalogServer,
};
use prost::Message;
use tonic::Response;

pub(crate) use admin::redis_stats;
pub use admin::{AdminService, Identity};
pub use call::{Admission, CallLimits, Inbound, Observers, Router};
pub use catalog::CatalogService;
use compat::CompatService;

use crate::{
    catalog::Catalog,
    config::{Compression, Contract},
};

/// Smaller replies are not compressed, because that would save next to nothing.
const COMPRESS_FROM: usize = 1 << 10;

/// Limits of messages, and how they are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a message that is received.
    pub max_request: usize,
    /// Bytes of a message that is sent.
    pub max_response: usize,
    /// How replies are compressed.
    pub compression: Compression,
}

/// The router of a listener: the catalogue is the service on its hot path.
pub type CatalogRouter = Router<ProductCatalogServer<CatalogService>>;

impl CatalogRouter {
    /// A router with the catalogue's service.
    pub fn for_catalog(catalog: Catalog, limits: CallLimits, messages: MessageLimits) -> Self {
        let service = ProductCatalogServer::new(CatalogService::new(catalog, messages));
        let service = service.max_decoding_message_size(messages.max_request);
        let service = compressed!(service, messages.compression);
        Self::new(limits).with_hot(call::methods::CATALOG, service)
    }

    /// Adds the service of another shop's contract.
    #[must_use]
    pub fn with_compat(self, catalog: Catalog, contract: Contract, messages: MessageLimits) -> Self {
        let service = CompatService::new(catalog, contract, messages);
        let limit = messages.max_request;
        match contract {
            Contract::Hipstershop => {
                let service = HipstershopServer::new(service).max_decoding_message_size(limit);
                self.with(call::methods::HIPSTERSHOP, compressed!(service, messages.compression))
            }
            Contract::Oteldemo => {
                let service = OteldemoServer::new(service).max_decoding_message_size(limit);
                self.with(call::methods::OTELDEMO, compressed!(service, messages.compression))
            }
        }
    }
}

/// A reply of one message, compressed only if it is worth it. `compresses` says whether any reply is.
fn reply<T: Message>(message: T, compresses: bool) -> Response<T> {
    let small = compresses && message.encoded_len() < COMPRESS_FROM;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    response
}
