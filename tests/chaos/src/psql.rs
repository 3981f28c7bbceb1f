//! One long session of `psql`.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

const LIMIT: Duration = Duration::from_mins(10);
const DONE: &str = "-- done --";

/// A session, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Psql {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Psql {
    /// Starts psql and waits until it is connected.
    pub(crate) async fn start(program: &Path, url: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("psql does not start")?;
        let input = child.stdin.take().context("no pipe to psql")?;
        let output = BufReader::new(child.stdout.take().context("no pipe from psql")?).lines();
        let mut session = Self { _child: child, input, output };
        session.run("SELECT 1").await?;
        Ok(session)
    }

    /// Runs SQL, and returns what it printed when it is done.
    pub(crate) async fn run(&mut self, sql: &str) -> anyhow::Result<String> {
        timeout(LIMIT, self.run_unbounded(sql)).await.context("psql took too long")?
    }

    async fn run_unbounded(&mut self, sql: &str) -> anyhow::Result<String> {
        self.input.write_all(format!("{sql};\n\\echo {DONE}\n").as_bytes()).await?;
        let mut printed = Vec::new();
        while let Some(line) = self.output.next_line().await? {
            if line == DONE {
                return Ok(printed.join("\n"));
            }
            printed.push(line);
        }
        bail!("psql ended at: {sql}")
    }
}
