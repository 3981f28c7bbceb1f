//! A pod without a cluster: the program with exactly the arguments and the environment of a manifest.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use larder_test_servers::{TempDir, free_port};
use tokio::{process::Child, process::Command, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::manifest::{Manifest, Probe, Variable};
use crate::harness::{Client, Process, grpc_health_probe};

/// How long a caller of a probe waits: longer than the kubelet, because the machine of a test may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a pod may take to end.
const END: Duration = Duration::from_mins(2);

/// A running pod. It is killed when this is dropped.
pub(super) struct Pod {
    child: Child,
    /// By the ports of the manifest, where the program listens: one machine has each port once, and other pods run beside.
    addresses: HashMap<u16, SocketAddr>,
    directory: TempDir,
}

impl Pod {
    /// Starts a pod. `secrets` are the keys of its Secret, and `changed` replaces or adds variables. Volumes are folders of their
    /// own.
    pub(super) async fn start(manifest: &Manifest, secrets: &[(&str, &str)], changed: &[(&str, &str)]) -> Self {
        let directory = TempDir::new("pod");
        let mut addresses = HashMap::new();
        let mut command = Process::command().await;
        command.args(manifest.arguments());
        for (name, variable) in manifest.variables() {
            let value = match variable {
                Variable::Secret(key) => {
                    let secret = secrets.iter().find(|(name, _)| *name == key);
                    secret.unwrap_or_else(|| panic!("no secret {key}")).1.to_owned()
                }
                Variable::Text(text) => match text.parse::<SocketAddr>() {
                    Ok(address) => {
                        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
                        addresses.insert(address.port(), here);
                        here.to_string()
                    }
                    Err(_) => text,
                },
            };
            let mount = manifest.mounts().into_iter().find(|mount| value.starts_with(mount));
            let value = mount.map_or(value.clone(), |mount| {
                let volume = directory.join(mount.trim_start_matches('/'));
                fs::create_dir_all(&volume).expect("a folder for a volume");
                value.replacen(mount, &volume.display().to_string(), 1)
            });
            command.env(name, value);
        }
        for (path, content) in manifest.files() {
            let file = directory.join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for a volume");
            fs::write(file, content).expect("a file of a ConfigMap");
        }
        command.envs(changed.iter().copied());
        let log = fs::File::create(directory.join("log")).expect("a file for the log");
        let child = command.stderr(log).spawn().expect("larder to start");
        Self { child, addresses, directory }
    }

    /// Where the program listens whose manifest names this port.
    pub(super) fn address(&self, port: u16) -> SocketAddr {
        *self.addresses.get(&port).unwrap_or_else(|| panic!("no variable names the port {port}"))
    }

    /// A client on a connection of its own.
    pub(super) async fn client(&self, port: u16) -> Client {
        Client::new(crate::harness::connect(self.address(port)).await)
    }

    /// Whether every caller of a probe finds the pod healthy (`true`) or every one finds it unhealthy (`false`); `None` where
    /// they differ, as they may for a moment.
    pub(super) async fn healthy(&self, probe: &Probe) -> Option<bool> {
        let address = self.address(probe.port);
        let mut found = vec![checked(address, &probe.service).await];
        let mut command = Process::command().await;
        command.args(["health", "--service", &probe.service]).env("LARDER_ADDRESS", address.to_string());
        found.push(succeeds(command).await);
        if let Some(program) = grpc_health_probe() {
            let mut command = Command::new(program);
            command.args(["-addr", &address.to_string(), "-service", &probe.service]);
            // A port that is closed is tried for this long.
            command.args(["-connect-timeout", "3s", "-rpc-timeout", "20s"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            found.push(succeeds(command).await);
        }
        found.iter().all(|healthy| *healthy == found[0]).then_some(found[0])
    }

    /// What the program has logged so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Tells the program to end, as the kubelet does after `preStop`.
    pub(super) async fn terminate(&self) {
        let pid = self.child.id().expect("a pod that runs").to_string();
        let sent = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status();
        assert!(sent.await.expect("a shell").success(), "the signal to be sent");
    }

    /// Waits for the end of the program.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        timeout(END, self.child.wait()).await.expect("larder to end").expect("the state of larder")
    }
}

/// Asks as the kubelet does: on a new connection, and only SERVING is healthy.
async fn checked(address: SocketAddr, service: &str) -> bool {
    let asked = async {
        let channel = Endpoint::from_shared(format!("http://{address}")).ok()?.connect().await.ok()?;
        let request = HealthCheckRequest { service: service.to_owned() };
        Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
    };
    timeout(PATIENCE, asked).await.is_ok_and(|status| status == Some(ServingStatus::Serving))
}

async fn succeeds(mut command: Command) -> bool {
    let output = timeout(PATIENCE * 2, command.stderr(Stdio::null()).status()).await;
    output.is_ok_and(|status| status.expect("a caller to start").success())
}
