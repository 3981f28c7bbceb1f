//! HTTP/1.1, for what does not speak gRPC: webhooks, probes, metrics, the page in the browser.
//!
//! Each part of the server that answers over HTTP has a router of its own; the application merges them, and
//! [`HttpListener`] serves the whole within its limits.

mod access;
mod listener;
pub(crate) mod page;
mod refusal;
mod routes;

pub(crate) use access::guarded;
pub(crate) use listener::HttpListener;
pub(crate) use page::page;
pub(crate) use refusal::Refusal;
pub(crate) use routes::{probes, with_limits};
