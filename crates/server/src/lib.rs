//! The server: configuration, the catalogue, gRPC and events.

pub mod app;
pub mod auth;
pub mod catalog;
mod codes;
pub mod config;
pub mod contract;
mod error;
pub mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
mod http;
pub mod json;
pub mod metrics;
pub mod net;
pub mod sample;
pub mod telemetry;
mod tls;

pub use codes::code_name;
pub use error::ServeError;
