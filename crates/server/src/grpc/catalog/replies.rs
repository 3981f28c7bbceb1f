//! Replies made of copies.

use std::time::Duration;

use larder_cache::{Entry, Found, Moment, Tier, trace};
use larder_proto::{
    Product,
    serving::{CacheInfo, CacheTier},
};
use tonic::{Response, metadata::MetadataMap};

use crate::{
    catalog::Copy,
    contract::duration,
    grpc::call::headers::{CACHE_DEBUG, CACHE_KEY, CACHE_STATUS, CACHE_TIER, CACHE_TTL, HIT, MISS, STALE},
};

/// Bytes of a header that repeats a part of the request. Clients refuse replies with more than some 8 KiB of headers.
const MAX_HEADER: usize = 2 << 10;

/// The cache facts of several copies together: the slowest tier, the greatest age, the shortest time to live.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Facts {
    tier: Tier,
    stale: bool,
    age: Duration,
    ttl: Option<Duration>,
    now: Moment,
}

impl Facts {
    /// The facts of no copy yet.
    pub(in crate::grpc) fn new(now: Moment) -> Self {
        Self { tier: Tier::L1, stale: false, age: Duration::ZERO, ttl: None, now }
    }

    /// Adds a copy that L1 answered with.
    pub(in crate::grpc) fn hit(&mut self, entry: &Entry<Copy>) {
        self.age = self.age.max(self.now.since(entry.began));
        let ttl = entry.deadline.since(self.now);
        self.ttl = Some(self.ttl.map_or(ttl, |shortest| shortest.min(ttl)));
    }

    /// Adds a copy.
    pub(in crate::grpc) fn add(&mut self, found: &Found<Copy>) {
        self.tier = self.tier.max(found.tier);
        self.stale |= found.stale;
        self.hit(&found.entry);
    }

    /// The facts as a part of a reply.
    pub(in crate::grpc) fn info(&self) -> CacheInfo {
        let tier = match self.tier {
            Tier::L1 => CacheTier::L1,
            Tier::L2 => CacheTier::L2,
            Tier::Database => CacheTier::Database,
        };
        CacheInfo { tier: tier.into(), stale: self.stale, age: Some(duration(self.age)), ttl: self.ttl.map(duration) }
    }

    /// A reply with its metadata.
    pub(in crate::grpc) fn reply<T>(
        &self,
        mut reply: Response<T>,
        request: &MetadataMap,
        key: impl Fn() -> String,
    ) -> Response<T> {
        self.mark(reply.metadata_mut(), request, key);
        reply
    }

    /// Writes the metadata of a reply or an error.
    pub(in crate::grpc) fn mark(&self, metadata: &mut MetadataMap, request: &MetadataMap, key: impl Fn() -> String) {
        self.trace(&key);
        let status = match (self.stale, self.tier) {
            (true, _) => STALE,
            (false, Tier::L1 | Tier::L2) => HIT,
            (false, Tier::Database) => MISS,
        };
        metadata.as_mut().insert(CACHE_STATUS, status);
        if request.get(CACHE_DEBUG).is_some_and(|asked| asked == "1") {
            let tier = match self.tier {
                Tier::L1 => "L1",
                Tier::L2 => "L2",
                Tier::Database => "DATABASE",
            };
            metadata.as_mut().insert(CACHE_TIER, http::HeaderValue::from_static(tier));
            let ttl = self.ttl.unwrap_or_default().as_millis();
            for (name, value) in [(CACHE_KEY, key()), (CACHE_TTL, ttl.to_string())] {
                // A key may contain characters that a header must not, such as an umlaut.
                let mut value = value.bytes().flat_map(std::ascii::escape_default).collect::<Vec<u8>>();
                if value.len() > MAX_HEADER {
                    value.truncate(MAX_HEADER);
                    value.extend_from_slice(b"...");
                }
                if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                    metadata.as_mut().insert(name, value);
                }
            }
        }
    }
}

impl Facts {
    /// Tells the span of a traced call.
    fn trace(&self, key: impl Fn() -> String) {
        let span = trace::current();
        if !span.is_traced() {
            return;
        }
        let (tier, hit) = match self.tier {
            Tier::L1 => ("l1", "hit"),
            Tier::L2 => ("l2", "hit"),
            Tier::Database => ("database", "miss"),
        };
        span.note("larder.cache.tier", tier);
        span.note("larder.cache.status", if self.stale { "stale" } else { hit });
        span.note("larder.cache.stale", self.stale);
        let key = key();
        // The name of a key begins with its kind.
        span.note("larder.cache.kind", key.split(':').next().unwrap_or_default());
        if span.takes_keys() {
            span.note("larder.cache.key", &*key);
        }
    }
}

/// The id of a product whose row cannot be read, if a copy records that.
pub(in crate::grpc) fn unreadable(entry: &Entry<Copy>) -> Option<&str> {
    match &entry.value {
        Some(Copy::Unreadable(id)) => Some(id),
        _ => None,
    }
}

/// The product of a copy as a part of a reply; `None` when the copy records its absence.
pub(in crate::grpc) fn product(entry: &Entry<Copy>) -> Option<Product> {
    match &entry.value {
        Some(Copy::Product(bytes)) => Some(Product::Ready(bytes.clone())),
        _ => None,
    }
}
