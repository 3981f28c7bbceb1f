//! The servers under measurement, as processes of their own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::load::Target;

/// How long a server may take until it is ready.
const START: Duration = Duration::from_secs(30);
/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// The file in which a server says where it listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) catalog: SocketAddr,
    #[serde(default)]
    pub(crate) admin: Option<SocketAddr>,
}

/// A running server, killed when it is no longer wanted.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) target: Target,
    pub(crate) admin: Option<SocketAddr>,
}

impl ServerProcess {
    /// Starts the real server over the SQLite file in `directory`, under a name of its own and with these settings besides.
    pub(crate) fn larder(
        binary: &Path,
        directory: &Path,
        name: &str,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let file = directory.join(format!("{name}.json"));
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--addresses-file"])
            .arg(&file)
            // Nothing of the caller's own configuration may take part.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("DATABASE_URL", format!("sqlite://{}", directory.join("larder.db").display()))
            .env("LARDER_DATA_DIR", directory)
            .env("LARDER_SAMPLE_CATALOGUE", "false")
            .env("LARDER_ADMIN_LISTEN", "127.0.0.1:0")
            .env("LARDER_HTTP_LISTEN", "127.0.0.1:0")
            .env("LARDER_LOG", "warn")
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .current_dir(directory);
        Self::start(command, &file).with_context(|| format!("cannot start {}", binary.display()))
    }

    /// Starts this program as the bare server, with the replies in `directory`.
    pub(crate) fn bare(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join("bare.json");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--addresses-file"]).arg(&file).arg("--replies").arg(directory);
        Self::start(command, &file).context("cannot start the bare server")
    }

    fn start(mut command: Command, file: &Path) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if let Some(addresses) = read(file) {
                let target = Target { address: addresses.catalog, process: child.id() };
                return Ok(Self { child, target, admin: addresses.admin });
            }
            if begun.elapsed() > START {
                let _ = child.kill();
                let _ = child.wait();
                bail!("it was not ready after {START:?}");
            }
            sleep(LOOK);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses, once they stand there whole.
fn read(file: &Path) -> Option<Addresses> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

/// The server's binary: the one that was named, or the one beside this program. When this program runs under `cargo run`,
/// cargo builds that one first, so that it is never an older one that is measured.
pub(crate) fn larder_binary(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let binary = if let Some(named) = named {
        named
    } else {
        if let Some(cargo) = std::env::var_os("CARGO") {
            build(Path::new(&cargo))?;
        }
        std::env::current_exe()?.with_file_name("larder")
    };
    anyhow::ensure!(
        binary.is_file(),
        "there is no server at {}: build it with `cargo build --release -p larder-cli`, or name it with --larder",
        binary.display()
    );
    Ok(binary.canonicalize()?)
}

/// Builds the server as this program was built.
fn build(cargo: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "larder-cli", "--bin", "larder"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.status().context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "the server could not be built");
    Ok(())
}
