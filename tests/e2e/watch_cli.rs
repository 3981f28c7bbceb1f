//! `larder watch`, while its server comes and goes.

use std::process::Stdio;

use larder_proto::catalog::{DeleteProductRequest, UpdateProductRequest};
use larder_test_servers::{TempDir, free_port};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Duration, timeout},
};

use crate::harness::{Database, Process, Ran, eventually, product};

const PATIENCE: Duration = Duration::from_mins(1);

/// A `larder watch` that runs.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    directory: TempDir,
}

impl Watching {
    async fn start(process: &Process, flags: &[&str]) -> Self {
        let directory = TempDir::new("watch");
        let mut command = process.client_command(&[&["watch"], flags].concat()).await;
        command.stdout(Stdio::piped());
        command.stderr(std::fs::File::create(directory.join("err")).expect("a file for what it tells"));
        let mut child = command.spawn().expect("larder to start");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines, directory }
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        line.expect("to read").unwrap_or_else(|| panic!("a line: {}", self.told()))
    }

    /// What it told on standard error.
    fn told(&self) -> String {
        std::fs::read_to_string(self.directory.join("err")).expect("what it told")
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a process that runs").to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().await;
        assert!(sent.expect("a shell").success(), "the signal to be sent");
    }

    async fn ended(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait()).await.expect("an end in time").expect("its state").code()
    }
}

/// Creates or replaces a product, and returns the token of the write.
async fn put(process: &Process, id: &str, name: &str) -> String {
    let product = larder_proto::catalog::Product { name: name.to_owned(), ..product(id) };
    let request = UpdateProductRequest { product: Some(product), allow_missing: true, ..Default::default() };
    process.client().update_product(request).await.expect("the product to be written").into_inner().token
}

#[tokio::test]
async fn a_watch_outlives_its_server() {
    let database = Database::sqlite();
    // Nobody else gets it while it is away.
    let listen = format!("127.0.0.1:{}", free_port());
    let process = Process::start_with(&database, &["--listen", &listen]).await;
    let before = put(&process, "a", "First").await;
    // From a token, so that nothing is missed while it connects.
    let mut watching = Watching::start(&process, &["--verbose", "--from", &before]).await;
    put(&process, "a", "Second\u{7}").await;
    // Changes of about the time of the token may be told again.
    let mut line = watching.line().await;
    if line.ends_with("First") {
        line = watching.line().await;
    }
    assert!(line.starts_with("put     a  etag ") && line.ends_with("  EUR 12.50  Second\\u{7}"), "{line}");

    process.kill().await;
    eventually("the loss to be told", async || watching.told().contains("trying again in ")).await;
    let process = Process::start_with(&database, &["--listen", &listen]).await;
    put(&process, "b", "Third").await;
    let request = DeleteProductRequest { id: "b".to_owned(), ..Default::default() };
    process.client().delete_product(request).await.expect("the product to be deleted");
    let line = watching.line().await;
    assert!(line.starts_with("put     b  etag "), "neither missed nor told twice: {line}");
    let line = watching.line().await;
    assert!(line.starts_with("delete  b  etag "), "{line}");

    watching.signal("INT").await;
    assert_eq!(watching.ended().await, Some(0), "{}", watching.told());
    let told = watching.told();
    let token =
        told.lines().last().and_then(|line| line.strip_prefix("go on with --from ")).expect("a token").to_owned();

    put(&process, "c", "Fourth").await;
    let mut watching = Watching::start(&process, &["--from", &token, "--json", "--tag", "copper"]).await;
    let event: Value = serde_json::from_str(&watching.line().await).expect("an object");
    assert_eq!((&event["event"]["kind"], &event["event"]["id"]), (&"PRODUCT_EVENT_KIND_PUT".into(), &"c".into()));
    assert!(event["token"].is_string(), "{event}");
    watching.signal("TERM").await;
    assert_eq!(watching.ended().await, Some(0));
    process.stop().await;
}

#[tokio::test]
async fn a_watch_gives_up_and_says_how_to_go_on() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    put(&process, "a", "First").await;
    let token = put(&process, "b", "Second").await;
    let mut watching = Watching::start(&process, &["--timeout", "3s", "--json", "--from", &token]).await;
    put(&process, "c", "Third").await;
    let mut last = Value::Null;
    while last["event"]["id"] != "c" {
        last = serde_json::from_str(&watching.line().await).expect("an object");
    }
    process.kill().await;
    assert_eq!(watching.ended().await, Some(69), "{}", watching.told());
    let told = watching.told();
    assert!(told.contains("hint: go on with --from "), "{told}");

    let process = Process::start(&database).await;
    let Ran { code, err, .. } = process.larder(&["watch", "--from", "nonsense"]).await;
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("start_token: ") && !err.contains("go on with"), "{err}");
    process.stop().await;
}
