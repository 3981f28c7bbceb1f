//! The contract of Larder: messages, clients and services generated from `proto/`, and the descriptor set.
//!
//! [`catalog`] holds the plain messages and the client. [`serving`] holds what the server uses: the same messages on the
//! wire, in which a product may be bytes that were encoded before ([`Product`]). [`admin`] is for both sides.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "most of this crate is generated; the documentation stands in the .proto files"
)]

pub mod codec;
mod product;

pub use google::r#type as google_type;
pub use larder::catalog::v1 as catalog;
pub use product::Product;

/// Google's published types.
pub mod google {
    /// `google.type`.
    pub mod r#type {
        include!(concat!(env!("OUT_DIR"), "/plain/google.r#type.rs"));
    }
}

mod larder {
    pub mod catalog {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/plain/larder.catalog.v1.rs"));
        }
    }
}

/// `larder.admin.v1`: messages, the client and the server's side.
pub mod admin {
    include!(concat!(env!("OUT_DIR"), "/admin/larder.admin.v1.rs"));
}

/// The server's side of `larder.catalog.v1`.
pub mod serving {
    include!(concat!(env!("OUT_DIR"), "/serving/larder.catalog.v1.rs"));
}

/// The catalogue of Online Boutique: messages, the client and the server's side.
pub mod hipstershop {
    include!(concat!(env!("OUT_DIR"), "/compat/hipstershop.rs"));

    /// The contract as an encoded `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hipstershop.binpb"));
}

/// The catalogue of the OpenTelemetry demo: the client and the server's side. Its messages are those of [`hipstershop`].
pub mod oteldemo {
    include!(concat!(env!("OUT_DIR"), "/compat/oteldemo.rs"));

    /// The contract as an encoded `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/oteldemo.binpb"));
}

/// The contract with everything it imports, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/larder.binpb"));
