//! The server: configuration, the catalogue, gRPC and events.

pub mod app;
pub mod catalog;
pub mod config;
pub mod contract;
pub mod events;
pub mod grpc;
pub mod json;
pub mod net;
pub mod sample;
pub mod telemetry;
