//! Errors arrive whole, whatever was asked.

use larder_proto::catalog::{BatchGetProductsRequest, GetProductRequest, GetProductResponse};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Database, Grpcio, Process, PyCall, Refusal, grpcurl, refusal, sent};

const RULE: &str = "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -";
/// How many bad ids are named beside the others.
const NAMED: usize = 7;

fn bad_ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number}!")).collect()
}

fn batch(count: usize) -> Vec<u8> {
    BatchGetProductsRequest { ids: bad_ids(count), read: None }.encode_to_vec()
}

fn get(id: &str) -> Vec<u8> {
    GetProductRequest { id: id.to_owned(), read: None }.encode_to_vec()
}

/// The message that refuses so many bad ids.
fn message(count: usize) -> String {
    let named: Vec<_> = (0..count.min(NAMED)).map(|number| format!("ids[{number}]: {RULE}")).collect();
    let more = if count > NAMED { format!("; and {} more", count - NAMED) } else { String::new() };
    format!("invalid request: {}{more}", named.join("; "))
}

/// Checks an error about so many bad ids, to the letter.
fn check(status: &Status, count: usize) {
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message(count).as_str()));
    let info = status.get_details_error_info().expect("its reason");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "larder.dev"));
    let more = info.metadata.get("more_violations").cloned();
    assert_eq!(more, (count > NAMED).then(|| (count - NAMED).to_string()));
    let violations = status.get_details_bad_request().expect("its fields").field_violations;
    let named: Vec<_> = violations.into_iter().map(|violation| (violation.field, violation.description)).collect();
    let expected: Vec<_> = (0..count.min(NAMED)).map(|number| (format!("ids[{number}]"), RULE.to_owned())).collect();
    assert_eq!(named, expected);
    assert!(sent(status) <= 2_048, "{}", sent(status));
}

#[tokio::test]
async fn grpcio_sees_every_error() {
    let Some(grpcio) = Grpcio::find() else { return };
    let database = Database::sqlite();
    let process = Process::start_with(&database, &["--sample-catalogue=true"]).await;
    let good = || get("copper-saucepan-18cm");
    let long = |size: usize| json!([["x-long", "x".repeat(size)]]);
    let calls = vec![
        PyCall::new("BatchGetProducts", &[batch(3)]),
        PyCall::new("BatchGetProducts", &[batch(80)]),
        PyCall::new("BatchGetProducts", &[batch(1_000)]),
        PyCall::new("GetProduct", &[good()]).with("metadata", long(15 << 10)),
        PyCall::new("GetProduct", &[good()]).with("metadata", long(20 << 10)),
        PyCall::new("GetProduct", &[good()]).with("metadata", long(70 << 10)),
        PyCall::new("GetProduct", &[good()]).with("metadata", long(200 << 10)),
        PyCall::new("GetProduct", &[good(), good()]).with("many", true),
        PyCall::new("GetProduct", &[good()]).with("many", true),
        PyCall::new("GetProduct", &[good()]).with("compression", "deflate"),
        PyCall::new("GetProduct", &[vec![0xff; 4]]),
        PyCall::new("Nonsense", &[good()]),
        PyCall::new("GetProduct", &[good()]),
    ];
    let replies = grpcio.call(process.address(), calls).await;
    let [three, eighty, thousand, fits, twenty, seventy, huge, two, one, deflate, garbage, unknown, last] =
        replies.try_into().expect("as many as calls");
    for (reply, count) in [(three, 3), (eighty, 80), (thousand, 1_000)] {
        check(&reply.status, count);
    }
    for reply in [fits, one, last] {
        assert_eq!(reply.status.code(), Code::Ok, "{:?}", reply.status);
        let got = GetProductResponse::decode(&*reply.replies[0]).expect("a product").product.expect("a product");
        assert_eq!(got.id, "copper-saucepan-18cm");
    }
    for (reply, size) in [(twenty, 20 << 10), (seventy, 70 << 10), (huge, 200 << 10)] {
        assert_eq!(refusal(&reply.status), Refusal::of(Code::ResourceExhausted, "HEADERS_TOO_LARGE"));
        // What else the library sends is not up to this test.
        let told = reply.status.message().strip_prefix("the call's headers are ").expect("how many there are");
        let (told, rest) = told.split_once(' ').expect("a number");
        assert!((size..size + 2_048).contains(&told.parse().expect("a number")), "{told}");
        assert_eq!(rest, "bytes, with 32 for each; the server accepts 16384");
    }
    let exact = [
        (two, Code::InvalidArgument, "SECOND_MESSAGE", "this method takes one message, and the call has more"),
        (
            deflate,
            Code::Unimplemented,
            "ENCODING_UNSUPPORTED",
            "the message's encoding is not supported; grpc-accept-encoding lists those that are",
        ),
        (garbage, Code::InvalidArgument, "MALFORMED_MESSAGE", "the body is not a message of this type"),
        (unknown, Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method; reflection lists those there are"),
    ];
    for (reply, code, reason, message) in exact {
        assert_eq!(refusal(&reply.status), Refusal::of(code, reason), "{:?}", reply.status);
        assert_eq!(reply.status.message(), message);
    }
    assert_eq!(process.stop().await.code(), Some(0));
}

#[tokio::test]
async fn grpcurl_sees_every_error() {
    let Some(grpcurl) = grpcurl() else { return };
    let database = Database::sqlite();
    let process = Process::start_with(&database, &["--sample-catalogue=true"]).await;
    let call = async |flags: &[&str], request: &Value, method: &str| {
        let mut command = Command::new(&grpcurl);
        command.args(["-plaintext", "-format-error"]).args(flags).args(["-d", &request.to_string()]);
        let method = format!("larder.catalog.v1.ProductCatalog/{method}");
        let output = command.args([&process.address().to_string(), &method]).output().await.expect("grpcurl");
        let shown = if output.status.success() { output.stdout } else { output.stderr };
        serde_json::from_slice::<Value>(&shown)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&shown)))
    };
    for count in [3, 80, 1_000] {
        let shown = call(&[], &json!({ "ids": bad_ids(count) }), "BatchGetProducts").await;
        let named = (0..count.min(NAMED)).map(|number| json!({"field": format!("ids[{number}]"), "description": RULE}));
        let mut info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_REQUEST", "domain": "larder.dev",
        });
        if count > NAMED {
            info["metadata"] = json!({ "more_violations": (count - NAMED).to_string() });
        }
        let fields = json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": named.collect::<Vec<_>>(),
        });
        let mut details = shown["details"].as_array().expect("details").clone();
        details.sort_by_key(|detail| detail["@type"] != info["@type"]);
        assert_eq!((&shown["code"], &shown["message"]), (&json!(3), &json!(message(count))));
        assert_eq!(details, [info, fields]);
    }

    let get = json!({ "id": "copper-saucepan-18cm" });
    let header = format!("x-long: {}", "x".repeat(60 << 10));
    for copies in [1, 3] {
        // Not in the calls of reflection, by which grpcurl learns of the method.
        let flags: Vec<_> = ["-rpc-header", &header].repeat(copies);
        let shown = call(&flags, &get, "GetProduct").await;
        assert_eq!(shown["code"], 8, "{shown}");
        assert_eq!(shown["details"][0]["reason"], "HEADERS_TOO_LARGE", "{shown}");
        let message = shown["message"].as_str().expect("a message");
        assert!(message.ends_with(" bytes, with 32 for each; the server accepts 16384"), "{message}");
    }

    // grpcurl refuses a second message by itself, unless it takes the method for one of a stream.
    let streaming = process.directory().join("streaming.binpb");
    std::fs::write(&streaming, as_streams().encode_to_vec()).expect("a descriptor set");
    let flags = ["-protoset", streaming.to_str().expect("a path")];
    let mut command = Command::new(&grpcurl);
    command.args(["-plaintext", "-format-error"]).args(flags).args(["-d", &format!("{get} {get}")]);
    let output = command
        .args([&process.address().to_string(), "larder.catalog.v1.ProductCatalog/GetProduct"])
        .output()
        .await
        .expect("grpcurl");
    let shown: Value = serde_json::from_slice(&output.stderr).expect("an error as JSON");
    assert_eq!(shown["code"], 3, "{shown}");
    assert_eq!(shown["message"], "this method takes one message, and the call has more");

    assert_eq!(call(&[], &get, "GetProduct").await["product"]["id"], "copper-saucepan-18cm");
    assert_eq!(process.stop().await.code(), Some(0));
}

/// The contract, but every method takes a stream of messages; with what grpcurl needs to show errors.
fn as_streams() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(larder_proto::DESCRIPTOR_SET).expect("the contract");
    for method in set.file.iter_mut().flat_map(|file| &mut file.service).flat_map(|service| &mut service.method) {
        *method = MethodDescriptorProto { client_streaming: Some(true), ..std::mem::take(method) };
    }
    set
}

#[tokio::test]
async fn the_cli_shows_every_error() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    for count in [3, 80, 1_000] {
        let ids = bad_ids(count);
        let arguments: Vec<_> = ["get"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        let ran = process.larder(&arguments).await;
        let first = "larder: INVALID_ARGUMENT: the server refuses the request\n".to_owned();
        let named = (0..count.min(NAMED)).map(|number| format!("  ids[{number}]: {RULE}\n"));
        let more = (count > NAMED).then(|| format!("  and {} more\n", count - NAMED));
        let expected: String = [first].into_iter().chain(named).chain(more).collect();
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(64), "", expected.as_str()));
    }
    assert_eq!(process.stop().await.code(), Some(0));
}

/// Whoever calls where no server listens is told how to start one.
#[tokio::test]
async fn a_command_without_a_server_says_how_to_start_one() {
    let database = Database::sqlite();
    let mut process = Process::start(&database).await;
    process.signal("KILL").await;
    process.ended().await;
    for command in
        [&["get", "a"][..], &["list"], &["health"], &["export"], &["watch"], &["stats"], &["hot"], &["purge"]]
    {
        let ran = process.larder(command).await;
        assert_eq!(ran.code, Some(69), "{command:?}: {}", ran.err);
        let lines: Vec<_> = ran.err.lines().collect();
        assert!(lines[0].starts_with("larder: cannot reach http://127.0.0.1:"), "{}", ran.err);
        assert!(lines[1].contains("larder serve"), "{}", ran.err);
    }
}
