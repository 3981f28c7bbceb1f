//! Headers that scripts rely on.

use http::{HeaderName, HeaderValue};

/// Names a request in logs and replies.
pub(in crate::grpc) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long the caller waits, in the form of the gRPC protocol.
pub(in crate::grpc) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The token of a commit: in the reply to a write, and in reads that must show that write.
pub(in crate::grpc) const TOKEN: &str = "x-larder-token";

/// Whether a reply came from a cache.
pub(in crate::grpc) const CACHE_STATUS: &str = "x-cache-status";
/// Asks for the next three headers.
pub(in crate::grpc) const CACHE_DEBUG: &str = "x-cache-debug";
/// The slowest tier that answered.
pub(in crate::grpc) const CACHE_TIER: &str = "x-cache-tier";
/// The key of the copy.
pub(in crate::grpc) const CACHE_KEY: &str = "x-cache-key";
/// Whole milliseconds until the copy expires.
pub(in crate::grpc) const CACHE_TTL: &str = "x-cache-ttl";

pub(in crate::grpc) const HIT: HeaderValue = HeaderValue::from_static("HIT");
pub(in crate::grpc) const MISS: HeaderValue = HeaderValue::from_static("MISS");
pub(in crate::grpc) const STALE: HeaderValue = HeaderValue::from_static("STALE");
