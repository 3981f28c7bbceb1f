//! One process of Larder in a cluster.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    guardian::{Guardian, any_lives, signal},
    temp::{TempDir, free_port},
};

const START_LIMIT: Duration = Duration::from_mins(1);
/// How many lines of a log tell why a process ended.
const LAST_LINES: usize = 20;
/// Writes the process's number where it can be found and becomes the program.
const NUMBERED: &str = r#"echo $$ >"$0" && exec "$@""#;

/// A running `larder serve`. Dropping it asks it to end, and kills it when it has not after five seconds.
#[derive(Debug)]
pub struct Replica {
    // Before the directory, so that the process is gone when that is removed.
    _guardian: Guardian,
    root: TempDir,
    address: SocketAddr,
}

impl Replica {
    /// Starts a replica on `port`, or on a free one when that is taken, with these variables and none of this process's
    /// own that would configure it. The error is what it logged.
    pub async fn start(program: &Path, port: u16, variables: &[(&str, String)]) -> Result<Self, String> {
        let root = TempDir::new("replica");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, if is_free(port) { port } else { free_port() }));
        let (pid_file, ready, log) = (root.join("pid"), root.join("addresses.json"), root.join("log"));
        let mut command: Vec<String> = vec!["sh".into(), "-c".into(), NUMBERED.into(), text(&pid_file), "env".into()];
        for (name, _) in std::env::vars() {
            if name.starts_with("LARDER_") || name.starts_with("REDIS_") || name == "DATABASE_URL" {
                command.extend(["-u".into(), name]);
            }
        }
        command.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.push(format!("LARDER_LISTEN={address}"));
        command.push("LARDER_ADMIN_LISTEN=127.0.0.1:0".to_owned());
        command.push(format!("LARDER_ADDRESSES_FILE={}", text(&ready)));
        command.push(format!("LARDER_DATA_DIR={}", text(root.path())));
        command.extend([text(program), "serve".into()]);
        let guardian = Guardian::start("TERM", &pid_file, root.path(), &log, &command);
        let replica = Self { _guardian: guardian, root, address };
        let begin = Instant::now();
        while !ready.exists() {
            if begin.elapsed() > START_LIMIT || replica.pid().is_some_and(|pid| !any_lives(&[pid])) {
                return Err(replica.last_lines());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(replica)
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

    /// Asks it to end, without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            signal(name, &[pid]);
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
