//! The services of each listener.

use std::sync::Arc;

use larder_proto::admin::cache_admin_server::CacheAdminServer;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::{
    auth::Gate,
    catalog::Catalog,
    config::{Compression, Contract, ServerConfig},
    error::ServeError,
    grpc::{AdminService, Admission, CallLimits, CatalogRouter, MessageLimits, Observers, compressed},
};

/// The service of the catalogue's listener.
pub(super) const CATALOG: &str = "larder.catalog.v1.ProductCatalog";
/// The service of the other listener.
pub(super) const ADMIN: &str = "larder.admin.v1.CacheAdmin";
const ADMIN_PATH: &str = "/larder.admin.v1.CacheAdmin/";
const HEALTH_PATH: &str = "/grpc.health.v1.Health/";

/// What decides about calls of the catalogue's listener before a service sees them.
pub(super) struct Entrance<'a> {
    pub(super) gate: &'a Arc<Gate>,
    pub(super) admission: &'a Arc<Admission>,
}

/// `ProductCatalog`, health and reflection.
pub(super) fn catalog(
    config: &ServerConfig,
    catalog: &Catalog,
    health: HealthServer<HealthService>,
    observers: &Observers,
    entrance: &Entrance<'_>,
) -> Result<CatalogRouter, ServeError> {
    let router = CatalogRouter::for_catalog(catalog.clone(), call_limits(config), message_limits(config));
    let router = router.observed(observers.clone()).with_web(config.web_origins.clone());
    let router = router.gated(Arc::clone(entrance.gate)).admitting(Arc::clone(entrance.admission));
    let router = config
        .compat
        .iter()
        .fold(router, |router, &contract| router.with_compat(catalog.clone(), contract, message_limits(config)));
    with_reflection(with_health(router, health), CATALOG, &config.compat, config.compression)
}

/// `CacheAdmin`, health and reflection.
pub(super) fn admin(
    config: &ServerConfig,
    service: AdminService,
    health: HealthServer<HealthService>,
    observers: &Observers,
    gate: &Arc<Gate>,
) -> Result<CatalogRouter, ServeError> {
    let service = CacheAdminServer::new(service).max_decoding_message_size(config.limits.request_bytes);
    let service = compressed!(service, config.compression);
    let router = CatalogRouter::new(call_limits(config)).observed(observers.clone()).gated(Arc::clone(gate));
    let router = router.with(ADMIN_PATH, service);
    with_reflection(with_health(router, health), ADMIN, &[], config.compression)
}

/// The service of another shop's contract.
pub(super) fn compat(contract: Contract) -> &'static str {
    match contract {
        Contract::Hipstershop => "hipstershop.ProductCatalogService",
        Contract::Oteldemo => "oteldemo.ProductCatalogService",
    }
}

fn descriptors(contract: Contract) -> &'static [u8] {
    match contract {
        Contract::Hipstershop => larder_proto::hipstershop::DESCRIPTOR_SET,
        Contract::Oteldemo => larder_proto::oteldemo::DESCRIPTOR_SET,
    }
}

fn call_limits(config: &ServerConfig) -> CallLimits {
    CallLimits {
        header_bytes: config.limits.header_bytes as usize,
        default_deadline: config.deadlines.request_default,
        max_deadline: config.deadlines.request_max,
        message: config.deadlines.message,
    }
}

fn message_limits(config: &ServerConfig) -> MessageLimits {
    MessageLimits {
        max_request: config.limits.request_bytes,
        max_response: config.limits.response_bytes,
        compression: config.compression,
    }
}

fn with_health(router: CatalogRouter, health: HealthServer<HealthService>) -> CatalogRouter {
    router.with(HEALTH_PATH, compressed!(health, Compression::default()))
}

/// Adds both versions of the reflection service, which lists one of our services and those of other shops' contracts.
fn with_reflection(
    router: CatalogRouter,
    service: &str,
    contracts: &[Contract],
    compression: Compression,
) -> Result<CatalogRouter, ServeError> {
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            // Both versions are registered below, so that each lists the other one.
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(larder_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            // With these a client such as grpcurl can show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(service)
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection");
        contracts.iter().fold(builder, |builder, &contract| {
            builder.register_encoded_file_descriptor_set(descriptors(contract)).with_service_name(compat(contract))
        })
    };
    let v1 = builder().build_v1().map_err(reflection_error)?;
    let v1alpha = builder().build_v1alpha().map_err(reflection_error)?;
    Ok(router
        .with("/grpc.reflection.v1.ServerReflection/", compressed!(v1, compression))
        .with("/grpc.reflection.v1alpha.ServerReflection/", compressed!(v1alpha, compression)))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn reflection_error(error: tonic_reflection::server::Error) -> ServeError {
    ServeError::Reflection(error.to_string())
}

/// Every method that can be served, as `package.Service/Method`.
#[cfg(test)]
pub(crate) fn every_method() -> Vec<String> {
    let mut pool = prost_reflect::DescriptorPool::new();
    for set in [
        larder_proto::DESCRIPTOR_SET,
        larder_proto::hipstershop::DESCRIPTOR_SET,
        larder_proto::oteldemo::DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(set).expect("a contract");
    }
    let services: Vec<_> = pool.services().collect();
    let methods = services.iter().flat_map(|service| {
        service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>()
    });
    methods.collect()
}
