//! The program itself.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, SystemTime},
};

use larder_test_servers::TempDir;
use tokio::{
    process::{Child, Command},
    sync::OnceCell,
    time::timeout,
};
use tonic::transport::Channel;

use super::{Client, Database, connect, eventually};

/// A running `larder serve`. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    addresses: Addresses,
    channel: Channel,
    directory: TempDir,
}

/// Where a process listens.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    catalog: SocketAddr,
    /// None without `CacheAdmin`.
    admin: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) out: String,
    /// What it told on standard error.
    pub(crate) err: String,
}

/// How long a process may take to end that was told to: far longer than any deadline to drain in the tests.
const END: Duration = Duration::from_mins(1);

impl Process {
    /// Starts `larder serve` and waits until it is ready.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_with(database, &[]).await
    }

    /// Starts `larder serve` with further flags and waits until it is ready.
    pub(crate) async fn start_with(database: &Database, flags: &[&str]) -> Self {
        Self::start_as(Self::command().await, database, flags).await
    }

    /// Starts `larder serve` with further variables and waits until it is ready.
    pub(crate) async fn start_in(environment: &[(&str, &str)], database: &Database) -> Self {
        let mut command = Self::command().await;
        command.envs(environment.iter().copied());
        Self::start_as(command, database, &[]).await
    }

    /// Starts `larder serve` under a limit, in the words of the shell's `ulimit`, and waits until it is ready.
    pub(crate) async fn start_under(limit: &str, database: &Database, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]).arg(program().await);
        Self::start_as(configured(shell), database, flags).await
    }

    /// Runs `larder serve` to its end where a directory cannot be written to. Needs `can_mount`.
    pub(crate) async fn run_on_read_only(directory: &Path, database: &Database) -> Ran {
        const SCRIPT: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
        let mut command = configured(Command::new("unshare"));
        command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(directory).arg(program().await).arg("serve");
        for listen in ["--listen", "--admin-listen", "--http-listen"] {
            command.args([listen, "127.0.0.1:0"]);
        }
        let elsewhere = TempDir::new("process");
        command.args(["--database-url", &database.url(), "--data-dir"]).arg(elsewhere.path()).stderr(Stdio::piped());
        Ran::of(timeout(END, command.output()).await.expect("the server to end within a minute"))
    }

    async fn start_as(mut command: Command, database: &Database, flags: &[&str]) -> Self {
        let directory = TempDir::new("process");
        let (addresses, log) = (directory.join("addresses.json"), directory.join("log"));
        command.args(["serve", "--log-format", "json", "--database-url", &database.url()]);
        for listen in ["--listen", "--admin-listen", "--http-listen"] {
            if !flags.contains(&listen) {
                command.args([listen, "127.0.0.1:0"]);
            }
        }
        if !flags.contains(&"--load-timeout") {
            // On a busy machine a healthy database takes long.
            command.args(["--load-timeout", "20s"]);
        }
        let mut child = command
            .arg("--data-dir")
            .arg(directory.path())
            .arg("--addresses-file")
            .arg(&addresses)
            .args(flags)
            .stderr(fs::File::create(&log).expect("a file for the log"))
            .spawn()
            .expect("larder to start");
        let mut listening = None;
        eventually("a ready server", async || {
            if let Some(status) = child.try_wait().expect("the state of larder") {
                panic!("larder ended with {status}:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            listening = read_addresses(&addresses);
            listening.is_some()
        })
        .await;
        let addresses = listening.expect("an address");
        Self { child, addresses, channel: connect(addresses.catalog).await, directory }
    }

    /// The program, with no variable of this process's environment that would configure it. A child that is still running
    /// when its handle is dropped is killed.
    pub(crate) async fn command() -> Command {
        configured(Command::new(program().await))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.catalog
    }

    /// Where its `CacheAdmin` listens.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.addresses.admin.expect("a server with CacheAdmin")
    }

    /// Where it serves HTTP.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.addresses.http.expect("a server with HTTP")
    }

    /// Limits the size of the files that the process writes, as a full disk does; `None` makes room again.
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

        let maximum = getrlimit(Resource::Fsize).maximum;
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("the number of a process"));
        let limit = Rlimit { current: bytes.or(maximum), maximum };
        prlimit(pid, Resource::Fsize, limit).expect("the limit of a process of this user to be set");
    }

    /// Bytes of memory that the process has for itself.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the state of the process");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line on its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// The program as a client of this server.
    pub(crate) async fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::command().await;
        command.args(arguments).env("LARDER_ADDRESS", self.address().to_string());
        if let Some(admin) = self.addresses.admin {
            command.env("LARDER_ADMIN_ADDRESS", admin.to_string());
        }
        command
    }

    /// Runs a command as a client of this server to its end.
    pub(crate) async fn larder(&self, arguments: &[&str]) -> Ran {
        let mut command = self.client_command(arguments).await;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ran::of(timeout(END, command.output()).await.expect("the command to end within a minute"))
    }

    /// A connection that all clients of the test share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    /// A directory of its own.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid().to_string()]).status();
        assert!(sent.await.expect("a shell").success(), "the signal to be sent");
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("larder to be killed");
    }

    /// Waits until it ends by itself or by a signal sent before.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(END, self.child.wait()).await.expect("larder to end within a minute").expect("the state of larder")
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.ended().await
    }
}

impl Ran {
    fn of(output: io::Result<Output>) -> Self {
        let output = output.expect("larder to start");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A command without any variable of this process's environment that would configure the program.
fn configured(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["LARDER_", "REDIS_", "OTEL_"].iter().any(|prefix| text.starts_with(prefix)) || text == "DATABASE_URL" {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// The addresses in the file that the server writes once it is ready.
fn read_addresses(file: &Path) -> Option<Addresses> {
    let text = fs::read_to_string(file).ok()?;
    let addresses: serde_json::Value = serde_json::from_str(&text).expect("the whole file or none");
    let read = |name: &str| Some(addresses[name].as_str()?.parse().expect("an address"));
    Some(Addresses {
        catalog: read("catalog").expect("the catalogue's address"),
        admin: read("admin"),
        http: read("http"),
    })
}

/// The program beside this test's executable. It is built when it is not there, or older than what it is made of: Cargo
/// builds it only for tests of its own package.
async fn program() -> &'static Path {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_init(find_program).await
}

async fn find_program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/debug/deps/e2e-… beside target/debug/larder
    let profile = test.parent().and_then(Path::parent).expect("a directory of a profile");
    let program = profile.join(format!("larder{}", std::env::consts::EXE_SUFFIX));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["proto", "build.rs", "crates", "Cargo.lock"].map(|part| modified(&root.join(part)));
    let built = fs::metadata(&program).and_then(|metadata| metadata.modified()).ok();
    if built.is_some_and(|built| sources.into_iter().flatten().all(|source| source <= built)) {
        return program;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    // With the test's own target among the others the dependencies have the features that they were built with for it.
    cargo.current_dir(root).args(["build", "--quiet", "--bin", "larder", "--test", "e2e"]);
    cargo.arg("--target-dir").arg(profile.parent().expect("a target directory"));
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().await.expect("cargo to start").success(), "the program to be built");
    program
}

/// When the newest file at or below a path was changed.
fn modified(path: &Path) -> Option<SystemTime> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return metadata.modified().ok();
    }
    fs::read_dir(path).ok()?.filter_map(|entry| modified(&entry.ok()?.path())).max()
}
