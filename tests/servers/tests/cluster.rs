//! The program that starts a cluster, with a stand-in for Larder: what it starts, with what, and that nothing stays.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use larder_test_servers::TempDir;

/// Does what a replica does, as far as a cluster sees it: says when it is ready, and ends when it is told to.
const STAND_IN: &str = r#"#!/bin/sh
env >"$LARDER_DATA_DIR/environment"
echo "$*" >"$LARDER_DATA_DIR/arguments"
echo "a line of the log"
echo '{}' >"$LARDER_ADDRESSES_FILE"
exec sleep 1000
"#;

/// A running cluster. It is killed when this is dropped; what it started must then end by itself.
struct Program {
    child: Child,
    output: Option<ChildStdout>,
    text: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts it, and waits until it says that everything is there.
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(&stand_in()).args(arguments).spawn().expect("the program to start");
        let output = child.stdout.take();
        let mut program = Self { child, output, text: String::new() };
        program.read_until("Ctrl-C ends all of it.");
        program
    }

    /// Reads what it prints up to a line with `part`.
    fn read_until(&mut self, part: &str) {
        use std::io::Read;
        let output = self.output.as_mut().expect("its output");
        let mut byte = [0];
        let begin = self.text.len();
        while !self.text[begin..].contains(part) || !self.text.ends_with('\n') {
            let count = output.read(&mut byte).expect("its output to be read");
            assert!(count == 1, "it ended before {part:?}:\n{}", self.text);
            self.text.push(char::from(byte[0]));
        }
    }

    /// The numbers of the processes that it names: the replicas' and, where there is one, that of Redis.
    fn pids(&self) -> Vec<u32> {
        let after = self.text.split("  pid ").skip(1);
        after.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
    }

    /// The directories of the replicas.
    fn directories(&self) -> Vec<PathBuf> {
        let after = self.text.split("logs to ").skip(1);
        after.map(|rest| Path::new(rest.lines().next().unwrap()).parent().unwrap().to_owned()).collect()
    }

    fn database(&self) -> &str {
        self.text.lines().find_map(|line| line.trim().strip_prefix("postgres://")).expect("the database")
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder-cluster"));
    command.env("LARDER_BIN", program).env("LARDER_STALENESS_BOUND", "7s").env("REDIS_URL", "redis://elsewhere");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stand_in() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY
        .get_or_init(|| {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
            // Another run of these tests may be about to start it.
            let new = path.with_extension(std::process::id().to_string());
            fs::write(&new, STAND_IN).expect("the stand-in to be written");
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("a program");
            fs::rename(&new, &path).expect("the stand-in to be put in its place");
            path
        })
        .clone()
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().expect("kill").success());
}

/// Waits until none of some processes is there.
fn gone(pids: &[u32]) {
    for _ in 0..1_000 {
        let ps = Command::new("ps").args(["-A", "-o", "pid=", "-o", "stat="]).output().expect("ps").stdout;
        let lives = String::from_utf8_lossy(&ps).lines().any(|line| {
            let mut words = line.split_whitespace();
            let pid = words.next().and_then(|pid| pid.parse().ok());
            pid.is_some_and(|pid| pids.contains(&pid)) && !words.next().is_some_and(|state| state.starts_with('Z'))
        });
        if !lives {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("processes stay behind: {pids:?}");
}

fn errors(child: &mut Child) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().expect("its errors"), &mut text).expect("text");
    text
}

#[test]
fn replicas_get_their_settings_and_end_with_the_program() {
    let mut program = Program::start(&[]);
    let (pids, directories) = (program.pids(), program.directories());
    assert_eq!((pids.len(), directories.len()), (4, 3), "{}", program.text);
    for (number, directory) in directories.iter().enumerate() {
        assert_eq!(fs::read_to_string(directory.join("arguments")).unwrap(), "serve\n");
        let environment = fs::read_to_string(directory.join("environment")).unwrap();
        let value = |name: &str| environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        assert_eq!(value("LARDER_SAMPLE_CATALOGUE"), Some(if number == 0 { "true" } else { "false" }));
        assert_eq!(value("DATABASE_URL"), Some(format!("postgres://{}", program.database()).as_str()));
        let redis = value("REDIS_URL").expect("a Redis");
        assert!(redis.starts_with("redis://127.0.0.1:") && program.text.contains(redis), "{redis}");
        assert!(program.text.contains(value("LARDER_LISTEN").expect("an address")));
        let admin = value("LARDER_ADMIN_LISTEN").expect("an address");
        assert!(!admin.ends_with(":0") && program.text.contains(&format!("CacheAdmin at {admin},")), "{admin}");
        let http = value("LARDER_HTTP_LISTEN").expect("an address");
        assert!(!http.ends_with(":0") && program.text.contains(&format!("HTTP at {http},")), "{http}");
        let first = number == 0 && !admin.ends_with(":50052");
        assert_eq!(program.text.contains(&format!(" top --admin-address {admin}\n")), first, "{}", program.text);
        assert_eq!(value("LARDER_STALENESS_BOUND"), None, "what is meant for others");
    }
    for command in ["larder top", "larder stats --all", "larder inspect copper"] {
        let command = command.replace("larder", &stand_in().display().to_string());
        assert!(program.text.contains(&format!("\n  {command}")), "{command}: {}", program.text);
    }
    kill("INT", program.child.id());
    assert_eq!(program.wait().code(), Some(0));
    gone(&pids);
    assert!(directories.iter().all(|directory| !directory.exists()));
}

#[test]
fn without_redis_there_is_none_and_a_killed_program_leaves_nothing() {
    let mut program = Program::start(&["--without-redis"]);
    let (pids, directories) = (program.pids(), program.directories());
    assert_eq!(pids.len(), 3, "{}", program.text);
    let environment = fs::read_to_string(directories[0].join("environment")).unwrap();
    assert!(!environment.contains("REDIS_URL"), "{environment}");
    kill("KILL", program.child.id());
    program.wait();
    gone(&pids);
}

#[test]
fn the_end_of_a_replica_ends_the_rest_and_is_told() {
    let mut program = Program::start(&["--without-redis"]);
    let pids = program.pids();
    kill("KILL", pids[1]);
    assert_eq!(program.wait().code(), Some(1));
    let errors = errors(&mut program.child);
    let address = program.text.lines().filter(|line| line.contains("  pid ")).nth(1).unwrap().trim();
    let address = address.split_once(' ').unwrap().0;
    assert!(errors.contains(&format!("The replica at {address} has ended")), "{errors}");
    assert!(errors.contains("a line of the log"), "{errors}");
    gone(&pids);
}

#[test]
fn redis_returns() {
    let mut program = Program::start(&["--redis-returns-after", "1"]);
    kill("KILL", program.pids()[3]);
    program.read_until("Redis has ended");
    program.read_until("Redis is back");
    kill("TERM", program.child.id());
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_replica_that_cannot_start_is_told() {
    let directory = TempDir::new("broken");
    let broken = directory.join("larder");
    fs::write(&broken, "#!/bin/sh\necho 'no such thing' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let output = command(&broken).arg("--without-redis").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors, "larder-cluster: replica 1 did not become ready:\nno such thing\n");
}

#[test]
fn a_command_runs_beside_the_cluster_and_ends_it() {
    let script = r#"echo "$LARDER_ADDRESSES;$LARDER_HTTP_ADDRESSES"; exit 3"#;
    for arguments in [["--without-redis", "--run", script], ["--break-bus", "--run", script]] {
        let output = command(&stand_in()).args(arguments).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(3), "{errors}");
        let (catalogs, http) = text.lines().last().expect("a line").split_once(';').expect("two lists");
        assert_eq!((catalogs.split(',').count(), http.split(',').count()), (3, 3), "{text}");
    }
}

#[test]
fn wrong_arguments_and_a_missing_program_are_told() {
    for (program, argument, code, part) in [
        ("/nowhere/larder", "--without-redis", 1, "there is no /nowhere/larder"),
        ("larder", "--what", 2, "Usage:"),
        ("larder", "--run", 2, "--run wants a command"),
        ("larder", "--break-bus", 2, "--break-bus wants --run"),
    ] {
        let output = command(Path::new(program)).arg(argument).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(part), "{errors}");
    }
}
