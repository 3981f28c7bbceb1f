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
mod errors;

use larder_proto::serving::product_catalog_server::ProductCatalogServer;

pub(crate) use admin::redis_stats;
pub use admin::{AdminService, Identity};
pub use call::{CallLimits, Inbound, Observers, Router};
pub use catalog::CatalogService;

use crate::{catalog::Catalog, config::Compression};

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
}
