//! Server reflection, in both of its versions.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::{Code, Request, client::Grpc};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::harness::{Database, Raw, Refusal, Server, framed, refusal};

/// The versions have the same messages under two names.
const VERSIONS: [&str; 2] = ["v1", "v1alpha"];

const SERVICES: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "larder.catalog.v1.ProductCatalog",
];

/// What a client such as grpcurl needs to call the services and to show errors.
const SYMBOLS: [&str; 14] = [
    "larder.catalog.v1.ProductCatalog",
    "larder.catalog.v1.ProductCatalog.GetProduct",
    "larder.catalog.v1.Product",
    "larder.catalog.v1.CacheTier",
    "google.type.Money",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.rpc.ErrorInfo",
    "google.rpc.BadRequest",
    "google.rpc.RetryInfo",
    "google.rpc.ResourceInfo",
    "grpc.health.v1.Health",
    "grpc.health.v1.HealthCheckResponse",
];

#[tokio::test]
async fn every_service_is_listed_and_every_symbol_found() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    for version in VERSIONS {
        let questions = [MessageRequest::ListServices(String::new())]
            .into_iter()
            .chain(SYMBOLS.map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned())))
            .collect();
        let mut answers = ask(&server, version, questions).await.into_iter();
        match answers.next() {
            Some(MessageResponse::ListServicesResponse(list)) => {
                let names: BTreeSet<_> = list.service.iter().map(|service| service.name.as_str()).collect();
                assert_eq!(names, BTreeSet::from(SERVICES), "{version}");
                assert_eq!(list.service.len(), SERVICES.len(), "{version}: each once");
            }
            other => panic!("{version}: {other:?}"),
        }
        for (symbol, answer) in SYMBOLS.into_iter().zip(answers) {
            let MessageResponse::FileDescriptorResponse(files) = answer else {
                panic!("{version}, {symbol}: {answer:?}");
            };
            let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).expect("a descriptor");
            assert!(symbol.starts_with(file.package()), "{version}, {symbol}: in {:?}", file.package());
        }
    }
    server.stop().await;
}

/// Every file that a file imports can be asked for by its name.
#[tokio::test]
async fn imported_files_are_found() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    for version in VERSIONS {
        let symbols = SYMBOLS.map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()));
        let mut wanted = Vec::new();
        for answer in ask(&server, version, symbols.to_vec()).await {
            let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{version}: {answer:?}") };
            let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).expect("a descriptor");
            wanted.push(file.name().to_owned());
        }
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let answer = ask(&server, version, vec![MessageRequest::FileByFilename(name.clone())]).await;
            let [MessageResponse::FileDescriptorResponse(files)] = &answer[..] else {
                panic!("{version}, {name}: {answer:?}");
            };
            let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).expect("a descriptor");
            assert_eq!(file.name(), name);
            wanted.extend(file.dependency);
        }
        assert!(
            seen.contains("google/type/money.proto") && seen.contains("google/protobuf/duration.proto"),
            "{seen:?}"
        );
    }
    server.stop().await;
}

/// The error stands in the trailers of a stream that others made, and repeats what was asked for.
#[tokio::test]
async fn an_unknown_symbol_is_an_error_that_arrives() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let mut raw = Raw::connect(server.address()).await;
    for version in VERSIONS {
        for length in [10, 1 << 20] {
            let symbol = MessageRequest::FileContainingSymbol("é".repeat(length));
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let call = raw.path(&path).header(http::header::CONTENT_TYPE, "application/grpc");
            let reply = raw.send(call, framed(request.encode_to_vec())).await;
            assert_eq!(refusal(&reply.status()), Refusal::of(Code::NotFound, "UNKNOWN_SYMBOL"));
            assert!(reply.status().message().starts_with("symbol 'ééé"), "{}", reply.status().message());
        }
    }
    server.stop().await;
}

async fn ask(server: &Server, version: &str, questions: Vec<MessageRequest>) -> Vec<MessageResponse> {
    let requests = questions
        .into_iter()
        .map(|question| ServerReflectionRequest { host: String::new(), message_request: Some(question) });
    let requests: Vec<_> = requests.collect();
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let path = PathAndQuery::try_from(path).expect("a path");
    let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let mut client = Grpc::new(server.channel());
    client.ready().await.expect("a connection");
    let reply = client.streaming(Request::new(tokio_stream::iter(requests)), path, codec).await.expect("a stream");
    let mut stream = reply.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await.expect("an answer") {
        answers.push(answer.message_response.expect("an answer"));
    }
    answers
}
