//! Compiles `proto/` without protoc and writes the descriptor set.
//!
//! Messages are generated twice. The plain ones are for clients. The server's own set differs in one thing: `Product` is
//! an external type that may be bytes encoded before, so that a cached product is copied into a reply as it is.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 1] = ["larder/catalog/v1/product_catalog.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("larder.binpb"), descriptors.encode_to_vec())?;

    let plain = out.join("plain");
    let serving = out.join("serving");
    std::fs::create_dir_all(&plain)?;
    std::fs::create_dir_all(&serving)?;
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
    Ok(())
}
