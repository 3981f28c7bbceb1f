//! HTTP/1.1, for what does not speak gRPC: webhooks, probes, metrics.
//!
//! Each part of the server that answers over HTTP has a router of its own; the application merges them, and
//! [`HttpListener`] serves the whole within its limits.

mod listener;
mod refusal;
mod routes;

pub(crate) use listener::HttpListener;
pub(crate) use refusal::Refusal;
pub(crate) use routes::{probes, with_limits};
