//! The methods that are treated in a way of their own.

pub(in crate::grpc) const CATALOG: &str = "/larder.catalog.v1.ProductCatalog/";
pub(in crate::grpc) const IMPORT: &str = "/larder.catalog.v1.ProductCatalog/ImportProducts";
pub(in crate::grpc) const WATCH: &str = "/larder.catalog.v1.ProductCatalog/WatchProducts";
/// The services of other shops' contracts.
pub(in crate::grpc) const HIPSTERSHOP: &str = "/hipstershop.ProductCatalogService/";
pub(in crate::grpc) const OTELDEMO: &str = "/oteldemo.ProductCatalogService/";
const ADMIN: &str = "/larder.admin.v1.CacheAdmin/";
const WATCH_STATS: &str = "/larder.admin.v1.CacheAdmin/WatchStats";
const WARM: &str = "/larder.admin.v1.CacheAdmin/WarmCache";
const WRITES: [&str; 3] = ["CreateProduct", "UpdateProduct", "DeleteProduct"];
/// The name of the only method besides [`IMPORT`] that takes more than one message.
const REFLECT: &str = "/ServerReflectionInfo";

/// Whether a method is one of `CacheAdmin`, whose calls leave a record.
pub(super) fn is_admin(path: &str) -> bool {
    path.starts_with(ADMIN)
}

/// Whether a method streams, and so may take any time.
pub(super) fn streams(path: &str) -> bool {
    [IMPORT, WATCH, WATCH_STATS, WARM].contains(&path)
}

/// Whether a method takes more than one message.
pub(super) fn takes_stream(path: &str) -> bool {
    path == IMPORT || path.ends_with(REFLECT)
}

/// Whether the server limits how long a method may take. Health and reflection have only the deadlines of their callers.
pub(super) fn is_limited(path: &str) -> bool {
    !streams(path) && [CATALOG, ADMIN, HIPSTERSHOP, OTELDEMO].iter().any(|service| path.starts_with(service))
}

/// Whether a method is one of the health service.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

/// Whether a method changes the catalogue by a single call.
pub(super) fn writes(path: &str) -> bool {
    path.strip_prefix(CATALOG).is_some_and(|method| WRITES.contains(&method))
}

/// Whether a method is neither of the catalogue nor of `CacheAdmin`: health, which must be answered whatever the others do, and
/// reflection.
pub(super) fn is_aside(path: &str) -> bool {
    !path.starts_with(CATALOG) && !is_admin(path)
}

/// Whether calls of a method may be traced. Probes and reflection would bury what matters.
pub(super) fn is_traced(path: &str) -> bool {
    !path.starts_with("/grpc.health.") && !path.starts_with("/grpc.reflection.")
}

/// Whether the trailers of a reply may hold an error that tonic made. The catalogue's other methods have errors in the headers.
pub(super) fn has_trailers(path: &str) -> bool {
    streams(path) || !path.starts_with(CATALOG)
}
