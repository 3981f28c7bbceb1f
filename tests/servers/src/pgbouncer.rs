//! PgBouncer, a connection pooler before PostgreSQL.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    guardian::Guardian,
    postgres::{Postgres, USER, as_server_user, blocking, is_root, run},
    temp::{TempDir, free_port},
};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A PgBouncer of its own on 127.0.0.1. It is stopped when this is dropped, and also when the test process is killed.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _guardian: Guardian,
    _root: TempDir,
}

impl PgBouncer {
    /// Starts one before a server. `settings` are further lines of its section `pgbouncer`, such as `pool_mode = session`.
    ///
    /// # Panics
    /// When PgBouncer is not installed or does not start.
    pub async fn start(server: &Postgres, settings: &[&str]) -> Self {
        let (upstream, settings) = (server.port(), settings.join("\n"));
        blocking(move || Self::start_blocking(upstream, &settings)).await
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    fn start_blocking(upstream: u16, settings: &str) -> Self {
        let (root, port) = (TempDir::new("pgbouncer"), free_port());
        let (configuration, pid_file, log) = (root.join("pgbouncer.ini"), root.join("pid"), root.join("log"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={upstream} user={USER}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npidfile = {}\nmax_client_conn = 200\n{settings}\n",
            pid_file.display()
        );
        std::fs::write(&configuration, text).expect("the pooler's configuration to be written");
        if is_root() {
            run(Command::new("chown").args(["-R", USER]).arg(root.path()));
        }
        let command = as_server_user(&[find().as_os_str(), OsStr::new("-q"), configuration.as_os_str()]);
        let mut guardian = Guardian::start("TERM", &pid_file, root.path(), &log, &command);
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let told = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!guardian.has_ended() && begin.elapsed() < START_LIMIT, "PgBouncer did not start:\n{}", told());
            thread::sleep(Duration::from_millis(10));
        }
        Self { port, _guardian: guardian, _root: root }
    }
}

/// Where the program is; Debian keeps it where only root looks.
fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(|place| Path::new(place).into()));
    let mut programs = places.map(|place: PathBuf| place.join("pgbouncer"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!(
            "PgBouncer is needed for this test and is neither in PATH nor in /usr/sbin: install it with `apt-get install \
             pgbouncer` (Debian, Ubuntu), `dnf install pgbouncer` (Fedora) or `brew install pgbouncer` (macOS)"
        )
    })
}
