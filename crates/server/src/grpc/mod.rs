//! gRPC: services, errors, and what every call goes through.

mod admin;
mod body;
mod errors;
mod front;
mod import;
mod names;
mod repair;
mod replies;
mod service;
mod watch;

pub use admin::{AdminService, Identity};
pub use front::{Front, FrontOptions};
