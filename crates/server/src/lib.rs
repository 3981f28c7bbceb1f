//! Larder: configuration, the catalogue, gRPC and the command line.

pub mod app;
pub mod catalog;
pub mod config;
pub mod contract;
pub mod grpc;
pub mod net;
mod seed;
pub mod telemetry;
