//! How long calls take, by method and status code.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use larder_cache::Sample;
use tokio::time::Instant;
use tonic::Code;

use super::{
    durations::{Durations, Sharded},
    table::{CALL_DURATION, CALLS_IN_FLIGHT},
};
use crate::codes::CODES;

/// The calls of a server, on all its listeners.
#[derive(Debug, Default)]
pub struct Calls {
    begun: Sharded<AtomicU64>,
    methods: [ByCode; METHODS.len() + 1],
}

/// Durations by code; those of a code exist once a call ended with it.
type ByCode = [OnceLock<Box<Durations>>; CODES.len()];

/// A call in progress. Dropped before it is [finished](Self::finish), it counts as cancelled.
pub(crate) struct Measured {
    calls: Arc<Calls>,
    method: usize,
    begun: Instant,
    /// The trace that the caller records, if any.
    trace_id: Option<u128>,
    finished: bool,
}

/// The methods of all services, by their paths without the slash in front; the most frequent first.
const METHODS: [&str; 31] = [
    "larder.catalog.v1.ProductCatalog/GetProduct",
    "larder.catalog.v1.ProductCatalog/BatchGetProducts",
    "larder.catalog.v1.ProductCatalog/ListProducts",
    "larder.catalog.v1.ProductCatalog/SearchProducts",
    "larder.catalog.v1.ProductCatalog/UpdateProduct",
    "larder.catalog.v1.ProductCatalog/CreateProduct",
    "larder.catalog.v1.ProductCatalog/DeleteProduct",
    "hipstershop.ProductCatalogService/ListProducts",
    "hipstershop.ProductCatalogService/GetProduct",
    "hipstershop.ProductCatalogService/SearchProducts",
    "oteldemo.ProductCatalogService/ListProducts",
    "oteldemo.ProductCatalogService/GetProduct",
    "oteldemo.ProductCatalogService/SearchProducts",
    "larder.catalog.v1.ProductCatalog/ImportProducts",
    "larder.catalog.v1.ProductCatalog/WatchProducts",
    "larder.admin.v1.CacheAdmin/GetStats",
    "larder.admin.v1.CacheAdmin/WatchStats",
    "larder.admin.v1.CacheAdmin/GetHealth",
    "larder.admin.v1.CacheAdmin/InspectEntry",
    "larder.admin.v1.CacheAdmin/ListHotKeys",
    "larder.admin.v1.CacheAdmin/InvalidateKeys",
    "larder.admin.v1.CacheAdmin/InvalidateTags",
    "larder.admin.v1.CacheAdmin/InvalidateCategories",
    "larder.admin.v1.CacheAdmin/InvalidatePattern",
    "larder.admin.v1.CacheAdmin/InvalidateAll",
    "larder.admin.v1.CacheAdmin/PurgeExpired",
    "larder.admin.v1.CacheAdmin/WarmCache",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The first methods above: the calls of the catalogue that have one reply.
const UNARY: usize = 13;
/// The packages of Larder and gRPC, whose methods always have a series. Others have one once they were called.
const ALWAYS: [&str; 2] = ["larder.", "grpc."];
/// The label of every other method (semantic conventions of RPC metrics).
const OTHER: &str = "_OTHER";

impl Calls {
    /// Begins to measure a call by the path of its method.
    pub(crate) fn begin(self: &Arc<Self>, path: &str, trace_id: Option<u128>) -> Measured {
        self.begun.mine().fetch_add(1, Ordering::Relaxed);
        let name = path.strip_prefix('/').unwrap_or(path);
        let method = METHODS.iter().position(|&method| method == name).unwrap_or(METHODS.len());
        Measured { calls: Arc::clone(self), method, begun: Instant::now(), trace_id, finished: false }
    }

    /// How many calls of the catalogue ended, of those that have one reply, and how many seconds they took together.
    pub(crate) fn unary(&self) -> (u64, f64) {
        let ended = self.methods[..UNARY].iter().flatten().filter_map(OnceLock::get).map(|durations| durations.read());
        ended.fold((0, 0.0), |(count, seconds), read| (count + read.count, seconds + read.sum))
    }

    /// The durations of each method, and the calls in progress.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut ended = 0;
        let names = METHODS.into_iter().chain([OTHER]);
        for (name, by_code) in names.zip(&self.methods) {
            for (code, durations) in CODES.into_iter().zip(by_code) {
                let distribution = match durations.get() {
                    Some(durations) => durations.read(),
                    None if code == "OK" && ALWAYS.iter().any(|package| name.starts_with(package)) => {
                        Durations::default().read()
                    }
                    None => continue,
                };
                ended += distribution.count;
                samples
                    .push(CALL_DURATION.sample(["grpc", name, code], larder_cache::Reading::Histogram(distribution)));
            }
        }
        // Read last: whatever ended has begun.
        let begun: u64 = self.begun.all().map(|begun| begun.load(Ordering::Relaxed)).sum();
        samples.push(CALLS_IN_FLIGHT.count([], begun.saturating_sub(ended)));
        samples
    }
}

impl Measured {
    /// Ends the call.
    pub(crate) fn finish(mut self, code: Code) {
        self.record(code);
    }

    fn record(&mut self, code: Code) {
        self.finished = true;
        let by_code = &self.calls.methods[self.method];
        // Codes are numbered without gaps from OK.
        let Some(durations) = by_code.get(code as usize) else { return };
        durations.get_or_init(Box::default).record(self.begun.elapsed(), self.trace_id);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.finished {
            self.record(Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_cache::Reading;

    use super::*;
    use crate::app::every_method;

    #[test]
    fn every_method_has_its_own_series() {
        let mut expected = every_method();
        expected.sort();
        let mut methods = METHODS.to_vec();
        methods.sort_unstable();
        assert_eq!(methods, expected);
        for (number, name) in (0..).zip(CODES) {
            assert_eq!(format!("{:?}", Code::from_i32(number)).to_lowercase(), name.replace('_', "").to_lowercase());
        }
    }

    #[test]
    fn a_call_counts_once_under_the_code_that_it_ends_with() {
        let calls = Arc::new(Calls::default());
        let path = "/larder.catalog.v1.ProductCatalog/GetProduct";
        calls.begin(path, None).finish(Code::Ok);
        calls.begin(path, Some(7)).finish(Code::NotFound);
        drop(calls.begin(path, None));
        calls.begin("/made.up/Method", None).finish(Code::Unimplemented);
        let open = calls.begin(path, None);
        let samples = calls.samples();
        let counted: Vec<_> = samples
            .iter()
            .filter_map(|sample| match &sample.reading {
                Reading::Histogram(read) if read.count > 0 => Some((sample.labels[1], sample.labels[2], read)),
                _ => None,
            })
            .collect();
        let named: Vec<_> = counted.iter().map(|(method, code, read)| (*method, *code, read.count)).collect();
        let get = METHODS[0];
        assert_eq!(named, [(get, "OK", 1), (get, "CANCELLED", 1), (get, "NOT_FOUND", 1), (OTHER, "UNIMPLEMENTED", 1)]);
        let traced: Vec<_> = counted[2].2.exemplars.iter().flatten().map(|exemplar| exemplar.trace_id).collect();
        assert_eq!(traced, [7]);
        assert_eq!(samples.last().unwrap().reading, Reading::Count(1), "one call in progress");
        let (ended, seconds) = calls.unary();
        assert!(ended == 3 && seconds > 0.0, "{ended} calls took {seconds} s");
        drop(open);
    }
}
