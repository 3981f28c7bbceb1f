//! Larder: configuration, the catalogue, gRPC and the command line.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod contract;
pub mod events;
pub mod grpc;
pub mod json;
pub mod net;
pub mod sample;
mod seed;
pub mod telemetry;
