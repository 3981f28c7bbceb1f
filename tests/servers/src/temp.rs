//! Directories and ports that belong to one test.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use rand::seq::SliceRandom;

/// Where [`free_port`] looks: above the ports of well-known servers.
const LOWEST: u16 = 10_240;
const HIGHEST: u16 = 60_999;
/// A process reserves so many neighbouring ports at a time: few descriptors for many ports.
const BLOCK: usize = 64;

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
        if let Err(error) = fs::create_dir_all(&path) {
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
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ports that only this process takes, as long as it lives.
#[derive(Debug)]
struct Reserved {
    /// Those not handed out yet.
    ports: Vec<u16>,
    /// The locks that keep other processes' hands off, one for each block.
    locks: Vec<File>,
}

/// Returns a TCP port of 127.0.0.1 that was free a moment ago. The system gives it to nobody by itself: whoever asks for
/// any port, or connects to another one, does not get it while a server that had it is being started again. Nor does any
/// process that asks here: each reserves blocks of ports by locks of files, and hands out each port once.
///
/// # Panics
/// When the machine has none left.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Reserved> = Mutex::new(Reserved { ports: Vec::new(), locks: Vec::new() });
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(port) = reserved.ports.pop() {
            if let Some(port) = bind(port) {
                return port;
            }
        }
        let Some((ports, lock)) = reserve(&std::env::temp_dir().join("larder-ports"), &given_by_nobody()) else {
            break;
        };
        reserved.ports = ports;
        reserved.locks.push(lock);
    }
    bind(0).expect("a free port on 127.0.0.1")
}

/// Reserves a block of ports that no other process holds, if there is one. The lock ends with the process, however it ends.
fn reserve(directory: &Path, ports: &[u16]) -> Option<(Vec<u16>, File)> {
    let mut blocks: Vec<&[u16]> = ports.chunks(BLOCK).collect();
    blocks.shuffle(&mut rand::rng());
    fs::create_dir_all(directory).ok()?;
    blocks.into_iter().find_map(|block| {
        let lock = File::create(directory.join(block.first()?.to_string())).ok()?;
        lock.try_lock().ok()?;
        Some((block.to_vec(), lock))
    })
}

/// Binds a port for a moment, 0 for any, and returns which it was.
fn bind(port: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}

/// The ports among which [`free_port`] chooses.
fn given_by_nobody() -> Vec<u16> {
    let given = given_ports();
    (LOWEST..=HIGHEST).filter(|port| !given.contains(port)).collect()
}

/// The ports that the system gives to whoever asks for any.
fn given_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
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
        assert_eq!(ports.iter().collect::<std::collections::BTreeSet<_>>().len(), ports.len(), "{ports:?}");
    }

    #[test]
    fn reserved_ports_are_nobody_elses() {
        let directory = TempDir::new("ports");
        let ports: Vec<u16> = (1..=3 * u16::try_from(BLOCK).unwrap()).collect();
        let reserve = || reserve(directory.path(), &ports);
        let held: Vec<_> = std::iter::from_fn(reserve).take(4).collect();
        let mut reserved: Vec<u16> = held.iter().flat_map(|(ports, _)| ports.clone()).collect();
        reserved.sort_unstable();
        assert_eq!(reserved, ports, "each once");
    }
}
