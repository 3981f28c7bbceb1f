//! `larder-cluster`: three replicas over PostgreSQL and Redis on this machine, with calls to try, until Ctrl-C.

#![allow(clippy::disallowed_methods, reason = "it waits for real processes")]

mod command;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use larder_test_servers::{Cluster, ClusterOptions, Ended, Ports};
use tokio::signal::unix::{Signal, SignalKind, signal};

const USAGE: &str = "\
Starts three replicas of Larder over PostgreSQL and Redis on this machine, prints calls to try, and ends all on Ctrl-C.

Usage: larder-cluster [--without-redis] [--redis-returns-after SECONDS] [--run COMMAND] [--break-bus]

  --without-redis                 the database alone: coherent as well, but every replica loads for itself
  --redis-returns-after SECONDS   when a killed Redis is started again [default: 15]
  --run COMMAND                   runs a command of the shell and ends with its exit code, instead of waiting for Ctrl-C;
                                  the replicas take any ports, and LARDER_ADDRESSES and LARDER_HTTP_ADDRESSES list them
  --break-bus                     while the command runs, messages between replicas are lost, late, doubled and out of order,
                                  and their connections are cut

LARDER_BIN names the program; it is the larder beside this one otherwise.";

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_secs(1);

const SERVICE: &str = "larder.catalog.v1.ProductCatalog";
/// A product of the sample catalogue.
const PRODUCT: &str = "copper-saucepan-18cm";

struct Arguments {
    redis: bool,
    redis_returns_after: Duration,
    run: Option<String>,
    break_bus: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("larder-cluster: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let program = match program() {
        Ok(program) => program,
        Err(missing) => {
            eprintln!("larder-cluster: {missing}");
            return ExitCode::FAILURE;
        }
    };
    // What is missing, and how to install it, is all there is to say; where that was noticed helps nobody here.
    std::panic::set_hook(Box::new(|panic| eprintln!("larder-cluster: {}", panic.payload_as_str().unwrap_or("failed"))));
    let mut interrupts = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).expect("a signal to listen to"));
    if arguments.run.is_none() {
        println!("Starting ...");
    }
    let options = ClusterOptions {
        ports: if arguments.run.is_some() { Ports::Free } else { Ports::Usual },
        program: program.clone(),
        redis: arguments.redis,
        proxy: arguments.break_bus,
        variables: Vec::new(),
    };
    let cluster = tokio::select! {
        cluster = Cluster::start(options) => match cluster {
            Ok(cluster) => cluster,
            Err(failure) => {
                eprintln!("larder-cluster: {failure}");
                return ExitCode::FAILURE;
            }
        },
        () = any(&mut interrupts) => return ExitCode::SUCCESS,
    };
    if let Some(command) = &arguments.run {
        return tokio::select! {
            code = run(command, &cluster) => code,
            () = any(&mut interrupts) => ExitCode::FAILURE,
        };
    }
    println!("{}", introduction(&cluster, &shown(&program), arguments.redis_returns_after));
    let code = tokio::select! {
        wrong = watch(&cluster, arguments.redis_returns_after) => {
            eprintln!("\n{wrong}\n\nEnding the rest ...");
            ExitCode::FAILURE
        }
        () = any(&mut interrupts) => {
            println!("\nEnding ...");
            ExitCode::SUCCESS
        }
    };
    drop(cluster);
    code
}

/// Runs a command beside the cluster, and returns its exit code.
async fn run(command: &str, cluster: &Cluster) -> ExitCode {
    let broken = async {
        match cluster.proxy() {
            Some(proxy) => command::break_bus(proxy).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = command::run(command, cluster) => ended,
        never = broken => match never {},
    };
    match ended {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("larder-cluster: the command was not started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what was asked for; `None` stands for help.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let redis_returns_after = Duration::from_secs(15);
    let mut arguments = Arguments { redis: true, redis_returns_after, run: None, break_bus: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--without-redis" => arguments.redis = false,
            "--redis-returns-after" => {
                let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                let seconds = seconds.ok_or("--redis-returns-after wants a number of seconds")?;
                arguments.redis_returns_after = Duration::from_secs(seconds);
            }
            "--run" => arguments.run = Some(words.next().ok_or("--run wants a command")?),
            "--break-bus" => arguments.break_bus = true,
            _ => return Err(format!("what is {word}?")),
        }
    }
    if arguments.break_bus && (arguments.run.is_none() || !arguments.redis) {
        return Err("--break-bus wants --run and a Redis".to_owned());
    }
    Ok(Some(arguments))
}

fn program() -> Result<PathBuf, String> {
    let named = std::env::var_os("LARDER_BIN").filter(|name| !name.is_empty()).map(PathBuf::from);
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("larder"));
    let program = named.or_else(beside).unwrap_or_else(|| PathBuf::from("larder"));
    // The replicas run in another directory.
    std::path::absolute(&program).ok().filter(|program| program.is_file()).ok_or_else(|| {
        format!("there is no {}: build it with `cargo build --bin larder`, or name it in LARDER_BIN", program.display())
    })
}

/// Waits for one of some signals.
async fn any(signals: &mut [Signal; 3]) {
    let [one, two, three] = signals;
    tokio::select! {
        _ = one.recv() => {}
        _ = two.recv() => {}
        _ = three.recv() => {}
    }
}

/// Starts Redis again whenever it has ended. Returns, with the reason, when something else has.
async fn watch(cluster: &Cluster, redis_returns_after: Duration) -> String {
    let mut away_since = None;
    loop {
        tokio::time::sleep(LOOK).await;
        match (cluster.ended(), cluster.redis()) {
            (None, _) => {}
            (Some(Ended::Redis), Some(redis)) => {
                let since = *away_since.get_or_insert_with(|| {
                    println!("\nRedis has ended; it returns, empty, in {} s.", redis_returns_after.as_secs());
                    Instant::now()
                });
                if since.elapsed() >= redis_returns_after {
                    redis.restart().await;
                    away_since = None;
                    println!("Redis is back{}.", redis.pid().map_or(String::new(), |pid| format!(", pid {pid}")));
                }
            }
            (Some(Ended::Replica(number)), _) => {
                let replica = &cluster.replicas()[number];
                let (address, lines) = (replica.address(), replica.last_lines());
                return format!("The replica at {address} has ended. Its last lines were:\n\n{lines}");
            }
            (Some(Ended::Postgres | Ended::Redis), _) => return "PostgreSQL has ended.".to_owned(),
        }
    }
}

fn introduction(cluster: &Cluster, larder: &str, redis_returns_after: Duration) -> String {
    let [one, two, three] = [0, 1, 2].map(|number| cluster.replicas()[number].address());
    let database = cluster.database_url();
    let psql = psql(&cluster.postgres().psql_program());
    let with = if cluster.redis().is_some() { "one PostgreSQL and one Redis" } else { "one PostgreSQL" };
    let mut lines = vec![format!("\nThree replicas of Larder over {with}:\n")];
    let others = cluster.admin_addresses().iter().zip(cluster.http_addresses());
    lines.extend(cluster.replicas().iter().zip(others).map(|(replica, (admin, http))| {
        let (address, pid, log) = (replica.address(), replica.pid().unwrap_or_default(), replica.log());
        format!("  {address}  pid {pid}, CacheAdmin at {admin}, HTTP at {http}, logs to {}", log.display())
    }));
    lines.push(format!("  {database}"));
    let redis = cluster.redis().map(|redis| (redis.url(), redis.pid().unwrap_or_default()));
    lines.extend(redis.as_ref().map(|(url, pid)| format!("  {url}  pid {pid}")));
    lines.push(format!(
        r#"
Write on the first, and read that write on the second with the token that it returned:

  token=$(grpcurl -plaintext -d '{{"product": {{"id": "{PRODUCT}", "name": "Written on the first"}}, "update_mask": {{"paths": ["name"]}}}}' {one} {SERVICE}/UpdateProduct | sed -n 's/.*"token": "\(.*\)".*/\1/p')
  grpcurl -plaintext -d '{{"id": "{PRODUCT}", "read": {{"at_least_as_fresh": "'$token'"}}}}' {two} {SERVICE}/GetProduct

Change it behind Larder's back, and read it on the third:

  {psql} '{database}' -c "UPDATE products SET name = 'Typed into psql' WHERE id = '{PRODUCT}'"
  grpcurl -plaintext -d '{{"id": "{PRODUCT}"}}' {three} {SERVICE}/GetProduct
"#
    ));
    let admin = cluster.admin_addresses()[0];
    // Where the commands look for it by themselves.
    let at = if admin.port() == 50_052 { String::new() } else { format!(" --admin-address {admin}") };
    lines.push(format!(
        r"See what the caches of all three do, what they did, and where a product is:

  {larder} top{at}
  {larder} stats --all{at}
  {larder} inspect {PRODUCT}{at}
"
    ));
    lines.extend(redis.map(|(_, pid)| {
        let seconds = redis_returns_after.as_secs();
        format!("Kill Redis: reads and writes go on. It returns, empty, after {seconds} s:\n\n  kill -9 {pid}\n")
    }));
    lines.push("Ctrl-C ends all of it.".to_owned());
    lines.join("\n")
}

/// The path of a program as it is typed here.
fn shown(program: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let inside = program.strip_prefix(&here).map(|path| Path::new(".").join(path));
    inside.unwrap_or_else(|_| program.to_owned()).display().to_string()
}

/// The name of psql where that suffices, else its path.
fn psql(program: &Path) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|place| place.join("psql").is_file());
    if found { "psql".to_owned() } else { program.display().to_string() }
}
