//! Directories and ports that belong to one test.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use rand::seq::IndexedRandom;

/// Where [`free_port`] looks: above the ports of well-known servers.
const LOWEST: u16 = 10_240;
const HIGHEST: u16 = 60_999;
/// So many ports are tried before any will do.
const TRIES: usize = 100;

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates an empty directory with `label` in its name.
    ///
    /// # Panics
    /// When the directory for temporary files cannot be written.
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let path = std::env::temp_dir().join(format!(
            "larder-{label}-{}-{}-{nanos}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        if let Err(error) = std::fs::create_dir_all(&path) {
            panic!("cannot create {}: {error}", path.display());
        }
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a TCP port of 127.0.0.1 that was free a moment ago and that the system gives to nobody by itself: whoever asks
/// for any port, or connects to another one, does not get it while a server that had it is being started again.
///
/// # Panics
/// When the machine has none left.
pub fn free_port() -> u16 {
    let given = given_ports();
    let ours: Vec<u16> = (LOWEST..=HIGHEST).filter(|port| !given.contains(port)).collect();
    let mut rng = rand::rng();
    let tries = (0..TRIES).filter_map(|_| ours.choose(&mut rng).copied());
    tries.chain([0]).find_map(bind).expect("a free port on 127.0.0.1")
}

/// Binds a port for a moment, 0 for any, and returns which it was.
fn bind(port: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}

/// The ports that the system gives to whoever asks for any.
fn given_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().map_while(|end| end.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => first..=last,
        // What the standards set aside for it, where the system does not tell.
        _ => 49_152..=u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_one_that_the_system_does_not_give_away() {
        let ports: Vec<u16> = (0..100).map(|_| free_port()).collect();
        let given = given_ports();
        assert!(ports.iter().all(|port| !given.contains(port)), "{ports:?} and {given:?}");
        assert!(ports.iter().collect::<std::collections::BTreeSet<_>>().len() > 50, "{ports:?}");
    }
}
