//! gRPC: services, errors, and what every call goes through.

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
mod body;
mod brief;
mod content_type;
mod errors;
mod front;
mod import;
mod names;
mod repair;
mod replies;
mod service;
mod watch;

pub use admin::{AdminService, Identity};
pub use front::{Front, FrontOptions};
