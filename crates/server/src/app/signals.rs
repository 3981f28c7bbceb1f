//! The signals of the system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a server to stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

/// Handles SIGXFSZ from here on, which otherwise ends the process: a write beyond the limit of a file's size then fails like a write
/// to a full disk.
pub(super) fn outlive_full_files() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal; returns its name.
    pub(super) async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
