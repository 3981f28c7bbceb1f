//! A command that runs beside the cluster, which ends with it.

use std::{
    convert::Infallible,
    fmt::Display,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use larder_test_servers::{Cluster, Faults, Proxy, Replica};
use tokio::{process::Command, time::sleep};

/// How long each state of a faulty bus lasts.
const STATE: Duration = Duration::from_millis(300);

/// Runs a command of the shell to its end. Its environment names the cluster.
pub(crate) async fn run(command: &str, cluster: &Cluster) -> std::io::Result<ExitStatus> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true);
    shell.env("LARDER_ADDRESSES", list(cluster.replicas().iter().map(Replica::address)));
    shell.env("LARDER_HTTP_ADDRESSES", list(cluster.http_addresses()));
    shell.status().await
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// Breaks the bus in one way after the other, and lets it work in between.
pub(crate) async fn break_bus(proxy: &Proxy) -> Infallible {
    let states = [
        Faults { push_delay: Duration::from_millis(200), ..Faults::default() },
        Faults { push_black_hole: true, ..Faults::default() },
        Faults::default(),
        Faults { push_drop: 0.5, push_duplicate: 0.2, push_swap: 0.2, ..Faults::default() },
        Faults { subscriber_black_hole: true, ..Faults::default() },
        Faults::default(),
    ];
    loop {
        for &faults in &states {
            proxy.set(faults);
            sleep(STATE).await;
            proxy.cut_subscribers();
        }
    }
}
