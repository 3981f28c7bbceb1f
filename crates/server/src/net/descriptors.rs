//! File descriptors: each connection takes one, and so does everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but connections to the catalogue and the databases: `CacheAdmin` and HTTP with all their places,
/// files, threads, and connections that are about to be refused.
const RESERVED: u64 = 448;
/// The least number of connections, however few descriptors there are.
const LEAST: u64 = 16;

/// Raises the limit on descriptors as far as the system allows.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => tracing::debug!(before = limit.current, now = limit.maximum, "limit on file descriptors raised"),
        Err(error) => tracing::warn!(%error, limit = limit.current, "limit on file descriptors not raised"),
    }
}

/// How many of the `wanted` connections there are descriptors for, beside `others` of connections to databases.
pub(crate) fn places_for(wanted: usize, others: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let places = within(limit, wanted, others);
    if places < wanted {
        let needed = wanted as u64 + others as u64 + RESERVED;
        tracing::warn!(
            limit,
            needed,
            max_connections = wanted,
            connections = places,
            "the limit on file descriptors (ulimit -n) is too low for max-connections; fewer connections are accepted"
        );
    }
    places
}

fn within(limit: u64, wanted: usize, others: usize) -> usize {
    let places = limit.saturating_sub(RESERVED).saturating_sub(others as u64).max(LEAST);
    wanted.min(usize::try_from(places).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept() {
        assert_eq!(within(1_000_000, 8_192, 10), 8_192);
        assert_eq!(within(4_096, 8_192, 10), 3_638);
        assert_eq!(within(100, 8_192, 10), 16);
        assert_eq!(within(4_096, 100, 10), 100);
    }
}
