//! What each method asks of its caller.

use std::collections::BTreeMap;

use crate::config::{Access, Role};

const OPEN: Access = Access::Open;
const READER: Access = Access::Role(Role::Reader);
const WRITER: Access = Access::Role(Role::Writer);
const ADMIN: Access = Access::Role(Role::Admin);

/// The metrics over HTTP.
pub(crate) const METRICS: &str = "/metrics";
/// The page in the browser, with its events and calls.
pub(crate) const PAGE: &str = "/page";

/// The rules without any configuration. A method that is not listed asks for the largest role, so that a new one is closed until it
/// is listed.
const RULES: [(&str, Access); 33] = [
    ("larder.catalog.v1.ProductCatalog/GetProduct", READER),
    ("larder.catalog.v1.ProductCatalog/BatchGetProducts", READER),
    ("larder.catalog.v1.ProductCatalog/ListProducts", READER),
    ("larder.catalog.v1.ProductCatalog/SearchProducts", READER),
    ("larder.catalog.v1.ProductCatalog/WatchProducts", READER),
    ("larder.catalog.v1.ProductCatalog/CreateProduct", WRITER),
    ("larder.catalog.v1.ProductCatalog/UpdateProduct", WRITER),
    ("larder.catalog.v1.ProductCatalog/DeleteProduct", WRITER),
    ("larder.catalog.v1.ProductCatalog/ImportProducts", WRITER),
    ("hipstershop.ProductCatalogService/ListProducts", READER),
    ("hipstershop.ProductCatalogService/GetProduct", READER),
    ("hipstershop.ProductCatalogService/SearchProducts", READER),
    ("oteldemo.ProductCatalogService/ListProducts", READER),
    ("oteldemo.ProductCatalogService/GetProduct", READER),
    ("oteldemo.ProductCatalogService/SearchProducts", READER),
    ("larder.admin.v1.CacheAdmin/GetStats", ADMIN),
    ("larder.admin.v1.CacheAdmin/WatchStats", ADMIN),
    ("larder.admin.v1.CacheAdmin/GetHealth", ADMIN),
    ("larder.admin.v1.CacheAdmin/InspectEntry", ADMIN),
    ("larder.admin.v1.CacheAdmin/ListHotKeys", ADMIN),
    ("larder.admin.v1.CacheAdmin/InvalidateKeys", ADMIN),
    ("larder.admin.v1.CacheAdmin/InvalidateTags", ADMIN),
    ("larder.admin.v1.CacheAdmin/InvalidateCategories", ADMIN),
    ("larder.admin.v1.CacheAdmin/InvalidatePattern", ADMIN),
    ("larder.admin.v1.CacheAdmin/InvalidateAll", ADMIN),
    ("larder.admin.v1.CacheAdmin/PurgeExpired", ADMIN),
    ("larder.admin.v1.CacheAdmin/WarmCache", ADMIN),
    ("grpc.health.v1.Health/Check", OPEN),
    ("grpc.health.v1.Health/Watch", OPEN),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", OPEN),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", OPEN),
    (METRICS, READER),
    (PAGE, ADMIN),
];

/// What a method asks for, named by its path, or a path of HTTP.
pub(super) fn access(overrides: &BTreeMap<String, Access>, path: &str) -> Access {
    let name = if [METRICS, PAGE].contains(&path) { path } else { path.strip_prefix('/').unwrap_or(path) };
    if let Some(access) = overrides.get(name) {
        return *access;
    }
    RULES.iter().find(|(known, _)| *known == name).map_or(ADMIN, |(_, access)| *access)
}

/// Whether there is a rule of this name, which the configuration may override.
pub(crate) fn has_rule(name: &str) -> bool {
    RULES.iter().any(|(known, _)| *known == name)
}

/// The names of all rules.
pub(crate) fn rule_names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::every_method;

    #[test]
    fn every_method_has_a_rule() {
        let methods = every_method();
        for name in &methods {
            assert!(has_rule(name), "{name} has no rule");
        }
        assert_eq!(methods.len() + 2, RULES.len(), "the rules of the methods, of the metrics and of the page");
    }

    #[test]
    fn what_is_not_listed_is_closed() {
        let none = BTreeMap::new();
        assert_eq!(access(&none, "/larder.catalog.v1.ProductCatalog/DropEverything"), ADMIN);
        assert_eq!(access(&none, "//larder.catalog.v1.ProductCatalog/GetProduct"), ADMIN);
        assert_eq!(access(&none, "/larder.catalog.v1.ProductCatalog/GetProduct"), READER);
        assert_eq!(access(&none, ""), ADMIN);
        let open = BTreeMap::from([(METRICS.to_owned(), OPEN)]);
        assert_eq!((access(&none, METRICS), access(&open, METRICS)), (READER, OPEN));
    }
}
