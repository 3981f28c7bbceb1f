//! Programs of others that call a server.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};
use tonic::{Code, Status, metadata::MetadataMap};

/// Finds a tool by the variable that names it, or else on the `PATH`. A test without its tool says so and passes, unless
/// `LARDER_REQUIRE_TOOLS` is 1.
pub(crate) fn find_tool(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&on_path).map(|place| place.join(name)).collect();
    let found = named.into_iter().chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        let missing = format!("{name} is neither named by {variable} nor on the PATH: `make tools` installs it");
        assert!(std::env::var_os("LARDER_REQUIRE_TOOLS").is_none_or(|value| value != "1"), "{missing}");
        eprintln!("not tested: {missing}");
    }
    found
}

/// Runs a program to its end, with a text as its input.
pub(crate) async fn run_with_input(program: &mut Command, input: &str) -> Output {
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = program.spawn().expect("the program to start");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).await.expect("the program to read its input");
    drop(stdin);
    child.wait_with_output().await.expect("the program's end")
}

/// Finds grpcurl.
pub(crate) fn grpcurl() -> Option<PathBuf> {
    find_tool("LARDER_TEST_GRPCURL", "grpcurl")
}

/// Finds kustomize.
pub(crate) fn kustomize() -> Option<PathBuf> {
    find_tool("LARDER_TEST_KUSTOMIZE", "kustomize")
}

/// Finds the program that calls the health service as the kubelet does.
pub(crate) fn grpc_health_probe() -> Option<PathBuf> {
    find_tool("LARDER_TEST_GRPC_HEALTH_PROBE", "grpc-health-probe")
}

/// Python with its gRPC library.
pub(crate) struct Grpcio(PathBuf);

/// A call through [`Grpcio`].
pub(crate) struct PyCall(Value);

/// What came of it.
#[derive(Debug)]
pub(crate) struct PyReply {
    /// The status, as the program saw it.
    pub(crate) status: Status,
    /// The encoded messages.
    pub(crate) replies: Vec<Vec<u8>>,
}

impl PyCall {
    /// A call of a method of the catalogue, with encoded messages.
    pub(crate) fn new(method: &str, messages: &[Vec<u8>]) -> Self {
        let messages: Vec<_> = messages.iter().map(|message| BASE64_STANDARD.encode(message)).collect();
        Self(json!({ "method": format!("/larder.catalog.v1.ProductCatalog/{method}"), "messages": messages }))
    }

    /// Sets one of what `call.py` knows.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }
}

impl Grpcio {
    /// Finds it.
    pub(crate) fn find() -> Option<Self> {
        find_tool("LARDER_TEST_GRPCIO", "python-with-grpcio").map(Self)
    }

    /// Makes calls over one connection, one after the other.
    pub(crate) async fn call(&self, address: SocketAddr, calls: Vec<PyCall>) -> Vec<PyReply> {
        let count = calls.len();
        let calls: Vec<_> = calls.into_iter().map(|call| call.0).collect();
        let asked = json!({ "address": address.to_string(), "calls": calls }).to_string();
        let mut python = Command::new(&self.0);
        // A proxy is for elsewhere.
        python.args(["-c", include_str!("call.py")]).env("NO_PROXY", "127.0.0.1").env("no_grpc_proxy", "127.0.0.1");
        let output = run_with_input(&mut python, &asked).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let replies: Vec<_> = String::from_utf8(output.stdout).expect("text").lines().map(read).collect();
        assert_eq!(replies.len(), count, "a reply to each call");
        replies
    }
}

fn read(line: &str) -> PyReply {
    let told: Value = serde_json::from_str(line).expect("JSON");
    let bytes = |value: &Value| BASE64_STANDARD.decode(value.as_str().expect("text")).expect("base64");
    let message = told["message"].as_str().expect("a message");
    let details = bytes(&told["details"]).into();
    let status = Status::with_details_and_metadata(code(&told["code"]), message, details, MetadataMap::new());
    PyReply { status, replies: told["replies"].as_array().expect("messages").iter().map(bytes).collect() }
}

/// The code of a name such as `NOT_FOUND`.
fn code(name: &Value) -> Code {
    let name = name.as_str().expect("a name").replace('_', "");
    let mut codes = (0..=16).map(Code::from_i32);
    codes.find(|code| format!("{code:?}").eq_ignore_ascii_case(&name)).unwrap_or_else(|| panic!("no code {name}"))
}
