//! The load generator: HTTP/2 with requests framed beforehand, on one thread, so that it leaves the server its share of the
//! machine.

mod closed;
mod connection;
mod latencies;
mod open;
mod tally;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;

pub(crate) use closed::{closed, exactly};
pub(crate) use connection::{Connection, Fault};
pub(crate) use latencies::Latencies;
pub(crate) use open::open;
pub(crate) use tally::Faults;

/// A server under measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The process whose CPU time is the server's.
    pub(crate) process: u32,
}

/// How many requests are under way at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
}

/// How long to load the server before anything counts, and how long it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// A request, framed, and how long its reply may be.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) frame: Bytes,
    /// The fewest DATA bytes that are right.
    pub(crate) least: usize,
    /// The most DATA bytes that are right: more than the fewest where the reply tells ages, whose encoding varies.
    pub(crate) most: usize,
}

/// Requests to one method, asked in turn. The turn goes on from one measurement to the next, so that requests over more
/// products than a cache holds do not begin again with those it has just seen.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) path: &'static str,
    prepared: Vec<Prepared>,
    next: AtomicUsize,
}

impl Calls {
    /// Requests to the method at `path`; at least one.
    pub(crate) fn new(path: &'static str, prepared: Vec<Prepared>) -> Self {
        assert!(!prepared.is_empty(), "no request for {path}");
        Self { path, prepared, next: AtomicUsize::new(0) }
    }

    /// The request whose turn it is.
    pub(crate) fn next(&self) -> &Prepared {
        &self.prepared[self.next.fetch_add(1, Ordering::Relaxed) % self.prepared.len()]
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> &[Prepared] {
        &self.prepared
    }
}

/// What one measurement of one server gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Right replies within the window.
    pub(crate) replies: u64,
    pub(crate) elapsed: Duration,
    /// The server's CPU time within the window.
    pub(crate) server_cpu: Duration,
    /// The load generator's.
    pub(crate) client_cpu: Duration,
    pub(crate) latencies: Latencies,
    pub(crate) faults: Faults,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.replies_f64() / self.elapsed.as_secs_f64()
    }

    /// The server's CPU microseconds per request.
    pub(crate) fn server_micros(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.replies_f64()
    }

    /// The load generator's.
    pub(crate) fn client_micros(&self) -> f64 {
        self.client_cpu.as_secs_f64() * 1e6 / self.replies_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn replies_f64(&self) -> f64 {
        self.replies as f64
    }
}
