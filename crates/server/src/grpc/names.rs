//! Names in metadata and errors that scripts rely on.

use http::{HeaderName, HeaderValue};

/// The domain of every `google.rpc.ErrorInfo`.
pub(super) const DOMAIN: &str = "larder.dev";

/// Names a request in logs and replies.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a caller waits, in the form of the gRPC protocol.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether a reply came from a cache.
pub(super) const CACHE_STATUS: &str = "x-cache-status";
/// Asks for the three that follow.
pub(super) const CACHE_DEBUG: &str = "x-cache-debug";
/// The slowest tier that was asked.
pub(super) const CACHE_TIER: &str = "x-cache-tier";
/// The name of the copy.
pub(super) const CACHE_KEY: &str = "x-cache-key";
/// Whole milliseconds until the copy expires.
pub(super) const CACHE_TTL: &str = "x-cache-ttl";

pub(super) const HIT: HeaderValue = HeaderValue::from_static("HIT");
pub(super) const MISS: HeaderValue = HeaderValue::from_static("MISS");
pub(super) const STALE: HeaderValue = HeaderValue::from_static("STALE");
