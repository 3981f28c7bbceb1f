//! Redis and Valkey.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::{
    client::{RedisClient, Reply},
    guardian::{Guardian, any_lives, children, signal},
    temp::{TempDir, free_port},
};

const START_LIMIT: Duration = Duration::from_mins(1);
const OLDEST: u32 = 7;
/// How long a dead server may keep others from its port, and another program may have it meanwhile.
const PORT_LIMIT: Duration = Duration::from_secs(20);

/// A program that speaks Redis's protocol and keeps its promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisBinary {
    /// `redis` or `valkey`.
    pub name: &'static str,
    /// The first number of its version.
    pub version: u32,
    /// Where it is.
    pub path: PathBuf,
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Which program; the first of [`Redis::binaries`] unless it is named.
    pub binary: Option<RedisBinary>,
    /// Further lines of `redis.conf`, each a name and what stands behind it, quoted where that file wants quotes. Without
    /// any the server keeps everything in memory and writes nothing by itself. With `sentinel` among the names it is a Sentinel.
    pub settings: Vec<(String, String)>,
}

/// A Redis server of its own, on 127.0.0.1, without a password. It is killed when this is dropped, and also when the test
/// process panics or is killed.
#[derive(Debug)]
pub struct Redis {
    // Before the directory, so that the server is gone when that is removed.
    guardian: Mutex<Option<Guardian>>,
    binary: RedisBinary,
    root: TempDir,
    data: PathBuf,
    port: u16,
    copies: AtomicU64,
}

impl Redis {
    /// Returns the server that all tests of this process share; the first call starts it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::OnceCell<Arc<Redis>> = tokio::sync::OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start(RedisOptions::default()).await) }).await)
    }

    /// The servers of this machine that are new enough, each once: Redis and Valkey, 7 or later, in this order.
    pub fn binaries() -> Vec<RedisBinary> {
        [("redis", "redis-server"), ("valkey", "valkey-server")]
            .into_iter()
            .filter_map(|(name, program)| {
                let path = find(program)?;
                let version = version(&path)?;
                (version >= OLDEST).then_some(RedisBinary { name, version, path })
            })
            .collect()
    }

    /// Starts a server.
    ///
    /// # Panics
    /// When neither Redis nor Valkey is installed, or it does not start.
    pub async fn start(options: RedisOptions) -> Self {
        let binary = options.binary.clone().or_else(|| Self::binaries().into_iter().next()).unwrap_or_else(|| {
            panic!(
                "Redis {OLDEST} or later (or Valkey) is needed for this test, and PATH has no redis-server: install it \
                 with `apt-get install redis-server` (Debian, Ubuntu), `dnf install redis` (Fedora), `apk add redis` \
                 (Alpine) or `brew install redis` (macOS)"
            )
        });
        for attempt in 1..=5 {
            let server = Self::prepare(binary.clone(), &options);
            match server.launch().await {
                Ok(()) => return server,
                // Somebody else may have taken the port in between.
                Err(log) if attempt == 5 => panic!("{} did not start:\n{log}", binary.path.display()),
                Err(_) => {}
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port, which stays the same when the server is started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Which program it is.
    pub fn binary(&self) -> &RedisBinary {
        &self.binary
    }

    /// The number of its process; `None` when it was ended from here.
    pub fn pid(&self) -> Option<u32> {
        self.guardian().as_ref()?;
        std::fs::read_to_string(self.root.join("pid")).ok()?.trim().parse().ok()
    }

    /// Whether its process lives, however it may have ended. Asks `ps`.
    pub fn runs(&self) -> bool {
        self.pid().is_some_and(|pid| any_lives(&[pid]))
    }

    /// Runs one command on a connection of its own, and returns what it answered, as `redis-cli` prints it.
    ///
    /// # Panics
    /// When the server refuses the command or cannot be reached.
    pub async fn cli(&self, words: &[&str]) -> String {
        match self.try_cli(words).await {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", words.join(" ")),
        }
    }

    /// Like [`Redis::cli`], but returns the server's error, or why there was no answer within a minute.
    pub async fn try_cli(&self, words: &[&str]) -> Result<String, String> {
        let reply = async { RedisClient::connect(self.address()).await?.call(words).await };
        match reply.await {
            Ok(Reply::Error(error)) => Err(error),
            Ok(reply) => Ok(reply.text()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A connection.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn client(&self) -> RedisClient {
        RedisClient::connect(self.address()).await.expect("a connection to Redis")
    }

    /// Waits until it answers and has read its files.
    ///
    /// # Panics
    /// When it has not within a minute.
    pub async fn wait_ready(&self) {
        let begin = Instant::now();
        while !self.answers().await {
            assert!(begin.elapsed() < START_LIMIT, "Redis did not answer in time");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the server as `kill -9` does: what was not saved is gone.
    pub fn kill(&self) {
        self.end("KILL");
    }

    /// Asks the server to end, as a service manager does; it saves its data first if its settings say that it saves.
    pub fn shutdown(&self) {
        self.end("TERM");
    }

    /// Starts the server again on the same port, empty; kills it first when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.kill();
        self.forget();
        self.launch_again().await;
    }

    /// Starts the server again on the same port with the data of `copy`, a file of [`Redis::save_copy`], be it of another
    /// server; kills it first when it runs. Settings that have an append-only file written leave the copy unread.
    ///
    /// # Panics
    /// When the file cannot be read, or the server does not start.
    pub async fn restart_with(&self, copy: &Path) {
        self.kill();
        self.forget();
        std::fs::copy(copy, self.data.join("dump.rdb")).expect("the copy to be put back");
        self.launch_again().await;
    }

    /// Starts the server again on the same port with whatever files the last one left; kills it first when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart_kept(&self) {
        self.kill();
        self.launch_again().await;
    }

    /// Stops the process where it is (SIGSTOP): connections stay open, new ones are taken by the kernel, nobody answers.
    pub fn pause(&self) {
        if let Some(pid) = self.pid() {
            signal("STOP", &[pid]);
        }
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        if let Some(pid) = self.pid() {
            signal("CONT", &[pid]);
        }
    }

    /// Saves the data as they are now and returns a copy of the file, which lives as long as this.
    ///
    /// # Panics
    /// When the server cannot save.
    pub async fn save_copy(&self) -> PathBuf {
        self.cli(&["SAVE"]).await;
        let copy = self.root.join(format!("copy-{}.rdb", self.copies.fetch_add(1, Ordering::Relaxed)));
        std::fs::rename(self.data.join("dump.rdb"), &copy).expect("the saved file");
        copy
    }

    fn prepare(binary: RedisBinary, options: &RedisOptions) -> Self {
        let root = TempDir::new(binary.name);
        let dir = options.settings.iter().rev().find(|(name, _)| name == "dir");
        let data = dir.map_or_else(|| root.join("data"), |(_, dir)| PathBuf::from(dir.trim_matches('"')));
        std::fs::create_dir_all(&data).expect("the server's directory");
        let port = free_port();
        let mut settings = format!(
            "bind 127.0.0.1\nport {port}\npidfile \"{}\"\ndir \"{}\"\ndaemonize no\nsave \"\"\nappendonly no\n",
            root.join("pid").display(),
            data.display(),
        );
        for (name, value) in &options.settings {
            let _ = writeln!(settings, "{name} {}", if value.is_empty() { "\"\"" } else { value });
        }
        std::fs::write(root.join("redis.conf"), settings).expect("the server's configuration to be written");
        Self { guardian: Mutex::new(None), binary, root, data, port, copies: AtomicU64::new(0) }
    }

    /// Removes what a server would read when it starts.
    fn forget(&self) {
        let _ = std::fs::remove_file(self.data.join("dump.rdb"));
        let _ = std::fs::remove_dir_all(self.data.join("appendonlydir"));
    }

    /// What the server has written to its log since it was last started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    async fn launch_again(&self) {
        let begin = Instant::now();
        while let Err(log) = self.launch().await {
            let taken = log.contains("Address already in use");
            assert!(taken && begin.elapsed() < PORT_LIMIT, "Redis did not start again:\n{log}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts the server and waits until it answers; the error is its log.
    async fn launch(&self) -> Result<(), String> {
        let (pid_file, log) = (self.root.join("pid"), self.root.join("log"));
        let _ = std::fs::remove_file(&log);
        let _ = std::fs::remove_file(&pid_file);
        let settings = self.root.join("redis.conf");
        let mut command = vec![self.binary.path.display().to_string(), settings.display().to_string()];
        if std::fs::read_to_string(&settings).is_ok_and(|settings| settings.contains("\nsentinel ")) {
            command.push("--sentinel".to_owned());
        }
        *self.guardian() = Some(Guardian::start("KILL", &pid_file, self.root.path(), &log, &command));
        let begin = Instant::now();
        loop {
            // Without the file another server answers on this port.
            if pid_file.exists() && self.answers().await {
                return Ok(());
            }
            let text = self.log();
            let failed = ["FATAL", "Fatal", "Failed listening", "Bad directive"].iter().any(|word| text.contains(word));
            if failed || begin.elapsed() > START_LIMIT {
                self.kill();
                return Err(text);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn answers(&self) -> bool {
        let ping = async { RedisClient::connect(self.address()).await?.call(&["PING"]).await };
        let reply = timeout(Duration::from_secs(1), ping).await;
        // One that still reads its files says so.
        matches!(reply, Ok(Ok(Reply::Text(text))) if text == "PONG")
    }

    fn end(&self, how: &str) {
        let pid = self.pid();
        let Some(guardian) = self.guardian().take() else {
            return;
        };
        // One that wrote no number could not start, and has ended.
        let mut pids = Vec::from_iter(pid);
        if how == "KILL" {
            // The child that writes a file would finish it.
            pids.extend(pid.into_iter().flat_map(children));
        }
        signal(how, &pids);
        signal("CONT", &pids);
        guardian.wait_for_end();
        let begin = Instant::now();
        while any_lives(&pids) && begin.elapsed() < START_LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn guardian(&self) -> MutexGuard<'_, Option<Guardian>> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program of `PATH`, or of the places where package managers put servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|place| place.join(program)).find(|path| path.is_file())
}

/// The first number in what a server says of itself: `Redis server v=7.2.4 sha=...`.
fn version(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once("v=")?.1.split('.').next()?.parse().ok()
}
