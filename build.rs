//! Compiles `proto/` without protoc and writes the descriptor set.
//!
//! Messages are generated twice. The plain ones are for clients. The server's own set differs in one thing: `Product` is
//! an external type that may be bytes encoded before, so that a cached product is copied into a reply as it is. `CacheAdmin`
//! has one set for both. The contracts of other shops are no part of ours: each has a descriptor set of its own.

use std::path::PathBuf;

use prost::Message as _;

const CATALOG: &str = "larder/catalog/v1/product_catalog.proto";
const ADMIN: &str = "larder/admin/v1/cache_admin.proto";
/// The contracts of other shops, which have the same messages in packages of their own.
const COMPAT: [&str; 2] = ["hipstershop", "oteldemo"];
const COMPAT_MESSAGES: [&str; 7] = [
    "Empty",
    "Product",
    "Money",
    "ListProductsResponse",
    "GetProductRequest",
    "SearchProductsRequest",
    "SearchProductsResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let everything = protox::compile([CATALOG, ADMIN], ["proto"])?;
    std::fs::write(out.join("larder.binpb"), everything.encode_to_vec())?;

    let [plain, serving, admin, compat] = ["plain", "serving", "admin", "compat"].map(|name| out.join(name));
    for directory in [&plain, &serving, &admin, &compat] {
        std::fs::create_dir_all(directory)?;
    }
    let descriptors = protox::compile([CATALOG], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .btree_map(".")
        .out_dir(plain)
        .compile_fds(descriptors.clone())?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .btree_map(".")
        .extern_path(".larder.catalog.v1.Product", "crate::Product")
        .extern_path(".google.type", "crate::google_type")
        .codec_path("crate::codec::Codec")
        .out_dir(serving)
        .compile_fds(descriptors)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .extern_path(".larder.catalog.v1", "crate::catalog")
        .out_dir(admin)
        .compile_fds(protox::compile([ADMIN], ["proto"])?)?;
    for name in COMPAT {
        let descriptors = protox::compile([format!("compat/{name}.proto")], ["proto"])?;
        std::fs::write(out.join(format!("{name}.binpb")), descriptors.encode_to_vec())?;
        let mut builder =
            tonic_prost_build::configure().build_transport(false).codec_path("crate::codec::Codec").out_dir(&compat);
        if name != COMPAT[0] {
            for message in COMPAT_MESSAGES {
                builder = builder.extern_path(format!(".{name}.{message}"), format!("crate::{}::{message}", COMPAT[0]));
            }
        }
        builder.compile_fds(descriptors)?;
    }
    Ok(())
}
