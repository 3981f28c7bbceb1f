//! One process of Larder in a cluster.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    guardian::{Guardian, any_lives, signal},
    temp::{TempDir, free_port},
};

const START_LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(10);
/// So many looks come to one question whether the process still lives.
const LOOKS: u32 = 20;
/// The file that is there once a process is ready.
const READY: &str = "addresses.json";
/// How many lines of a log tell why a process ended.
const LAST_LINES: usize = 20;
/// Writes the process's number where it can be found and becomes the program.
const NUMBERED: &str = r#"echo $$ >"$0" && exec "$@""#;

/// A running `larder serve`. Dropping it asks it to end, and kills it when it has not after five seconds.
#[derive(Debug)]
pub struct Replica {
    // Before the directory, so that the process is gone when that is removed.
    guardian: Mutex<Option<Guardian>>,
    root: TempDir,
    address: SocketAddr,
    command: Vec<String>,
}

impl Replica {
    /// Starts a replica on `port`, or on a free one when that is taken, with these variables and none of this process's
    /// own that would configure it. The error is what it logged.
    pub async fn start(program: &Path, port: u16, variables: &[(&str, String)]) -> Result<Self, String> {
        let root = TempDir::new("replica");
        let address = near(port);
        let (pid_file, ready) = (root.join("pid"), root.join(READY));
        let mut command: Vec<String> = vec!["sh".into(), "-c".into(), NUMBERED.into(), text(&pid_file), "env".into()];
        for (name, _) in std::env::vars() {
            if ["LARDER_", "REDIS_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix)) || name == "DATABASE_URL" {
                command.extend(["-u".into(), name]);
            }
        }
        command.extend(["LARDER_ADMIN_LISTEN=127.0.0.1:0".to_owned(), "LARDER_HTTP_LISTEN=127.0.0.1:0".to_owned()]);
        command.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.push(format!("LARDER_LISTEN={address}"));
        command.push(format!("LARDER_ADDRESSES_FILE={}", text(&ready)));
        command.push(format!("LARDER_DATA_DIR={}", text(root.path())));
        command.extend([text(program), "serve".into()]);
        let replica = Self { guardian: Mutex::new(None), root, address, command };
        replica.launch().await.map(|()| replica)
    }

    /// Starts a process that was killed again, with the same variables on the same port. The error is what it logged.
    pub async fn restart(&self) -> Result<(), String> {
        self.kill();
        self.launch().await
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&self) {
        let Some(guardian) = self.guardian().take() else {
            return;
        };
        self.signal("KILL");
        guardian.wait_for_end();
        // Another process may get its number.
        let _ = fs::remove_file(self.root.join("pid"));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.root.join("pid")).ok()?.trim().parse().ok()
    }

    /// The file with what it logs.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The end of that.
    pub fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Stops the process where it is (SIGSTOP): connections stay open, and nobody answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks the process to end, and waits until it has. Returns false when it has not after a minute; then it is killed.
    pub async fn end(&self) -> bool {
        self.terminate();
        let begin = Instant::now();
        let ended = loop {
            if self.pid().is_none_or(|pid| !any_lives(&[pid])) {
                break true;
            }
            if begin.elapsed() > START_LIMIT {
                break false;
            }
            sleep(LOOK * LOOKS).await;
        };
        self.kill();
        ended
    }

    /// Asks it to end, without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Starts the process and waits until it is ready.
    async fn launch(&self) -> Result<(), String> {
        let (pid_file, ready) = (self.root.join("pid"), self.root.join(READY));
        for old in [&pid_file, &ready] {
            let _ = fs::remove_file(old);
        }
        let guardian = Guardian::start("TERM", &pid_file, self.root.path(), &self.log(), &self.command);
        *self.guardian() = Some(guardian);
        let (begin, mut looks) = (Instant::now(), 0_u32);
        while !ready.exists() {
            // Asking whether it lives costs more than looking for a file.
            let asked = looks % LOOKS == LOOKS - 1 && self.pid().is_some_and(|pid| !any_lives(&[pid]));
            if asked || begin.elapsed() > START_LIMIT {
                return Err(self.last_lines());
            }
            looks += 1;
            sleep(LOOK).await;
        }
        Ok(())
    }

    fn guardian(&self) -> MutexGuard<'_, Option<Guardian>> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            signal(name, &[pid]);
        }
    }
}

/// An address with this port, or with a free one when that is taken.
pub(super) fn near(port: u16) -> SocketAddr {
    let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if is_free { SocketAddr::from((Ipv4Addr::LOCALHOST, port)) } else { free() }
}

/// An address with a free port.
pub(super) fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
