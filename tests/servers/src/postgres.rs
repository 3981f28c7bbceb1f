//! PostgreSQL.

mod backup;

use std::{
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    guardian::{Guardian, any_lives, children, signal},
    temp::{TempDir, free_port},
};

pub(crate) const USER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a dead server may keep others from its port, and another program may have it meanwhile.
const PORT_LIMIT: Duration = Duration::from_secs(20);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Whether commits are flushed to disk. Without it a killed *server* still loses nothing (only a killed machine does).
    pub fsync: bool,
    /// Further lines of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// The size of a disk of its own at [`Postgres::small_disk`], in MiB. Needs [`can_mount`].
    pub small_disk: Option<u32>,
}

/// A PostgreSQL server of its own, on 127.0.0.1, with trust authentication. It is stopped when this is dropped, and also
/// when the test process panics or is killed.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    root: TempDir,
    port: u16,
    guardian: Mutex<Option<Guardian>>,
    small_disk: Option<u32>,
}

/// Mounts a disk of `$1` MiB at `$2`, which no process but this and its children sees and which ends with them, and becomes the rest.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o "size=$1m" tmpfs "$2" && chown "$3" "$2" && shift 3 && exec "$@""#;

/// Whether this process may mount disks of its own: on Linux, as root.
pub fn can_mount() -> bool {
    let script = "mount -t tmpfs tmpfs /mnt";
    let tried = Command::new("unshare").args(["--mount", "sh", "-c", script]).stderr(Stdio::null()).status();
    is_root() && tried.is_ok_and(|status| status.success())
}

impl Postgres {
    /// Returns the server that all tests of this process share; the first call starts it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::OnceCell<Arc<Postgres>> = tokio::sync::OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start(PostgresOptions::default()).await) }).await)
    }

    /// Starts a server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start(options: PostgresOptions) -> Self {
        blocking(move || Self::start_blocking(&options)).await
    }

    /// Creates an empty database and returns its URL.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create_database(&self) -> String {
        match self.try_create_database("").await {
            Ok(url) => url,
            Err(error) => panic!("psql: {error}"),
        }
    }

    /// Creates an empty database with options of CREATE DATABASE and returns its URL, or what psql wrote when the server refused.
    pub async fn try_create_database(&self, options: &str) -> Result<String, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.try_psql(USER, &format!("CREATE DATABASE {name} {options}")).await?;
        Ok(self.url(&name))
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where psql is.
    pub fn psql_program(&self) -> PathBuf {
        self.binaries.join("psql")
    }

    /// Runs SQL with the real `psql` (stopping at the first error) and returns what it printed, unaligned and without headers.
    /// `database` is a name or a URL.
    ///
    /// # Panics
    /// When psql reports an error.
    pub async fn psql(&self, database: &str, sql: &str) -> String {
        match self.try_psql(database, sql).await {
            Ok(output) => output,
            Err(error) => panic!("psql: {error}"),
        }
    }

    /// Like [`Postgres::psql`], but returns what psql wrote to its standard error when it failed.
    ///
    /// # Panics
    /// When psql cannot be run.
    pub async fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let url = if database.contains("://") { database.to_owned() } else { self.url(database) };
        let program = self.psql_program();
        let sql = sql.to_owned();
        blocking(move || {
            let mut child = without_settings(&mut Command::new(program))
                .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url, "-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("psql to start");
            let mut stdin = child.stdin.take().expect("a pipe to psql");
            std::io::Write::write_all(&mut stdin, sql.as_bytes()).expect("psql to read its input");
            drop(stdin);
            let output = child.wait_with_output().expect("psql to end");
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        })
        .await
    }

    /// What the server that runs has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// Kills the server and every process of it, as `kill -9` does.
    pub fn kill(&self) {
        let Some(guardian) = self.guardian().take() else {
            return;
        };
        if let Some(pid) = self.pid() {
            // First of all it begets no more children: one that is not killed would keep the next server from starting.
            signal("STOP", &[pid]);
            let mut pids = vec![pid];
            pids.extend(children(pid));
            signal("KILL", &pids);
            guardian.wait_for_end();
            let begin = Instant::now();
            while any_lives(&pids) && begin.elapsed() < START_LIMIT {
                thread::sleep(Duration::from_millis(5));
            }
            // The file of a killed server stays behind with a number that another process may get.
            let _ = std::fs::remove_file(self.root.join("data/postmaster.pid"));
        }
    }

    /// Stops every process of the server where it is (SIGSTOP): connections stay open, and nobody answers.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        if let Some(pid) = self.pid() {
            // The first process goes first, so that it has no further children meanwhile.
            signal(name, &[pid]);
            signal(name, &children(pid));
        }
    }

    /// Where the small disk is.
    pub fn small_disk(&self) -> PathBuf {
        self.root.join("small")
    }

    /// Stops the server cleanly: open transactions are rolled back, everything is written.
    pub fn stop(&self) {
        let Some(guardian) = self.guardian().take() else {
            return;
        };
        if let Some(pid) = self.pid() {
            signal("INT", &[pid]);
        }
        guardian.wait_for_end();
    }

    /// Starts the server again, on the same port with the same data; stops it first when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(self: &Arc<Self>) {
        let server = Arc::clone(self);
        blocking(move || {
            server.stop();
            server.launch_again();
        })
        .await;
    }

    fn start_blocking(options: &PostgresOptions) -> Self {
        let binaries = find_binaries();
        for attempt in 1..=5 {
            let server = Self {
                binaries: binaries.clone(),
                root: TempDir::new("postgres"),
                port: free_port(),
                guardian: Mutex::new(None),
                small_disk: options.small_disk,
            };
            server.initialise(options);
            match server.launch() {
                Ok(()) => return server,
                // Somebody else may have taken the port in between.
                Err(log) if attempt == 5 => panic!("PostgreSQL did not start:\n{log}"),
                Err(_) => {}
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    fn initialise(&self, options: &PostgresOptions) {
        let root = self.root.path();
        if is_root() {
            run(Command::new("chown").arg(USER).arg(root));
        }
        let data = root.join("data");
        let mut command =
            as_server_user(&[self.binaries.join("initdb").as_os_str(), OsStr::new("--pgdata"), data.as_os_str()]);
        command.extend(
            ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username", USER].map(str::to_owned),
        );
        run(Command::new(&command[0]).args(&command[1..]).current_dir("/"));

        let mut settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = 1000\n\
             fsync = {}\nfull_page_writes = {}\nmax_prepared_transactions = 10\nautovacuum_naptime = '1h'\n",
            self.port,
            if options.fsync { "on" } else { "off" },
            if options.fsync { "on" } else { "off" },
        );
        for (name, value) in &options.settings {
            let _ = writeln!(settings, "{name} = '{value}'");
        }
        let path = data.join("postgresql.auto.conf");
        std::fs::write(&path, settings).expect("the server's configuration to be written");
    }

    /// Starts the server on the port that it had, and waits for that where somebody else has it meanwhile.
    fn launch_again(&self) {
        let begin = Instant::now();
        while let Err(log) = self.launch() {
            let taken = log.contains("Address already in use");
            assert!(taken && begin.elapsed() < PORT_LIMIT, "PostgreSQL did not start again:\n{log}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts the server and waits until it takes connections; the error is its log.
    fn launch(&self) -> Result<(), String> {
        let (data, log) = (self.root.join("data"), self.root.join("log"));
        let pid_file = data.join("postmaster.pid");
        let mut command =
            as_server_user(&[self.binaries.join("postgres").as_os_str(), OsStr::new("-D"), data.as_os_str()]);
        if let Some(size) = self.small_disk {
            let place = self.small_disk();
            std::fs::create_dir_all(&place).expect("a directory for the small disk");
            let mount = ["unshare", "--mount", "sh", "-c", ON_SMALL_DISK, "sh"].map(str::to_owned);
            let disk = [size.to_string(), place.display().to_string(), USER.to_owned()];
            command = [&mount[..], &disk, &command].concat();
        }
        // What a server of before wrote, or an orphan of a killed one has yet to write, is not about this one.
        let _ = std::fs::remove_file(&log);
        let mut slot = self.guardian();
        let mut guardian = Guardian::start("QUIT", &pid_file, self.root.path(), &log, &command);
        let begin = Instant::now();
        loop {
            let ready = std::fs::read_to_string(&pid_file).is_ok_and(|text| {
                text.lines().nth(7).is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
            });
            if ready {
                *slot = Some(guardian);
                return Ok(());
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let failed = text.contains("FATAL:") && !pid_file.exists();
            if guardian.has_ended() || failed || begin.elapsed() > START_LIMIT {
                return Err(text);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number of the server's first process.
    pub fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.root.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn guardian(&self) -> MutexGuard<'_, Option<Guardian>> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The directory that holds initdb, postgres and psql: where `PATH` has them, else the newest of the usual places.
fn find_binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for parent in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        places.extend(versions.into_iter().map(|(_, path)| path));
    }
    places.extend(["/opt/homebrew/bin", "/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
    places
        .into_iter()
        .find(|place| {
            ["initdb", "postgres", "psql"]
                .iter()
                .all(|name| place.join(name).is_file())
        })
        .unwrap_or_else(|| {
            panic!(
                "PostgreSQL 15 or later is needed for this test and is neither in PATH nor in /usr/lib/postgresql: \
                 install it with `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server` (Fedora) \
                 or `brew install postgresql` (macOS)"
            )
        })
}

/// The command line that runs a program as somebody who may run PostgreSQL, which refuses to run as root.
pub(crate) fn as_server_user(command: &[&OsStr]) -> Vec<String> {
    let command = command.iter().map(|part| part.to_string_lossy().into_owned());
    let mut line: Vec<String> = Vec::new();
    if is_root() {
        if on_path("setpriv") {
            line.extend(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"].map(str::to_owned));
        } else if on_path("runuser") {
            line.extend(["runuser", "-u", USER, "--"].map(str::to_owned));
        } else {
            let script = r#"exec "$0" "$@""#;
            line.extend(["su", USER, "-s", "/bin/sh", "-c", script, "--"].map(str::to_owned));
        }
    }
    line.extend(command);
    line
}

pub(crate) fn is_root() -> bool {
    static ROOT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ROOT.get_or_init(|| Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0"))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| Path::new(&place).join(program).is_file())
}

/// The same command without the variables by which somebody's shell configures clients of PostgreSQL.
fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn run(command: &mut Command) {
    let output = without_settings(command).output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{command:?} did not start: {error}"),
    }
}
