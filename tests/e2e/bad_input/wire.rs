//! What is wrong before a message is read.

use bytes::Bytes;
use http::{Method, StatusCode, header::CONTENT_TYPE};
use larder_proto::catalog::{GetProductRequest, ListProductsRequest};
use prost::Message as _;
use tonic::{Code, Request, Status};

use super::Table;
use crate::harness::{Raw, Refusal, Server, framed, product};

/// Bodies that are no message, or too large a one.
pub(super) async fn bodies(server: &Server, table: &mut Table) {
    let mut raw = Raw::connect(server.address()).await;
    let malformed = Refusal::of(Code::InvalidArgument, "MALFORMED_MESSAGE");
    let large = Refusal::of(Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let cases: [(&str, Bytes, &Refusal); 11] = [
        ("no protobuf", framed(b"\xff\xff\xff\xff"), &malformed),
        ("text that is not UTF-8", framed(b"\x0a\x01\xff"), &malformed),
        ("a field of another type", framed(b"\x08\x01"), &malformed),
        ("a length beyond the end", framed(b"\x0a\x10a"), &malformed),
        ("half a message", framed(b"\x0a\x02p0").slice(..7), &malformed),
        ("half a prefix", Bytes::from_static(&[0, 0, 0]), &malformed),
        ("no message", Bytes::new(), &malformed),
        ("an unknown flag", Bytes::from_static(&[2, 0, 0, 0, 0]), &malformed),
        ("compressed by nothing", Bytes::from_static(&[1, 0, 0, 0, 0]), &malformed),
        ("a message too large", framed(vec![0; (4 << 20) + 1]), &large),
        ("a message said to be too large", Bytes::from_static(&[0, 255, 255, 255, 255]), &large),
    ];
    for (case, body, expected) in cases {
        for method in ["GetProduct", "CreateProduct", "BatchGetProducts"] {
            // Field 1 of the others is of another type than text.
            if method != "GetProduct" && case == "a field of another type" {
                continue;
            }
            let reply = raw.send(raw.method(method), body.clone()).await;
            table.refused(&format!("{method}, {case}"), Err::<(), _>(reply.status()), expected);
        }
    }
    let nested = raw.send(raw.method("CreateProduct"), framed(b"\x0a\x02\x0a\x10")).await;
    table.refused("CreateProduct, half a product", Err::<(), _>(nested.status()), &malformed);
    for (encoding, expected) in [
        ("gzip", &malformed),
        ("zstd", &malformed),
        ("deflate", &Refusal::of(Code::Unimplemented, "ENCODING_UNSUPPORTED")),
        ("nonsense", &Refusal::of(Code::Unimplemented, "ENCODING_UNSUPPORTED")),
    ] {
        let request = raw.method("GetProduct").header("grpc-encoding", encoding);
        let reply = raw.send(request, &[1, 0, 0, 0, 1, 0][..]).await;
        table.refused(&format!("compressed by {encoding}"), Err::<(), _>(reply.status()), expected);
        let listed = expected.reason == "ENCODING_UNSUPPORTED";
        let named = reply.headers.get("grpc-accept-encoding").map(http::HeaderValue::as_bytes);
        table.holds(&format!("{encoding}: {named:?}"), named == listed.then_some(b"gzip,zstd,identity"));
    }
    let twice = [framed(b"\x0a\x02p0"), framed(b"\x0a\x02p1")].concat();
    let second = Refusal::of(Code::InvalidArgument, "SECOND_MESSAGE");
    for method in ["GetProduct", "BatchGetProducts", "WatchProducts"] {
        for (case, body) in [
            ("two messages", &twice[..]),
            ("a message and a half", &twice[..11]),
            ("a message and a byte", &twice[..10]),
        ] {
            let reply = raw.send(raw.method(method), Bytes::copy_from_slice(body)).await;
            table.refused(&format!("{method}, {case}"), Err::<(), _>(reply.status()), &second);
        }
    }

    let mut client = server.client();
    let description = "x".repeat(60_000);
    server
        .import((0..3).map(|number| {
            let id = format!("large{number}");
            larder_proto::catalog::Product { description: description.clone(), ..product(&id) }
        }))
        .await;
    let large = Refusal::of(Code::ResourceExhausted, "REPLY_TOO_LARGE");
    let outcome = client.list_products(ListProductsRequest::default()).await;
    table.refused("a page larger than what may be sent", outcome, &large);
    let request = larder_proto::catalog::BatchGetProductsRequest {
        ids: ["large0", "large1"].map(str::to_owned).to_vec(),
        read: None,
    };
    table.refused("a batch larger than what may be sent", client.batch_get_products(request).await, &large);
}

/// Methods that do not exist, and what is not gRPC.
pub(super) async fn calls(server: &Server, table: &mut Table) {
    let mut raw = Raw::connect(server.address()).await;
    let unknown = Refusal::of(Code::Unimplemented, "UNKNOWN_METHOD");
    for path in [
        "/larder.catalog.v1.ProductCatalog/Nonsense",
        "/larder.catalog.v1.ProductCatalog/",
        "/larder.catalog.v1.ProductCatalog/WatchNothing",
        "/larder.catalog.v2.ProductCatalog/GetProduct",
        "/larder.admin.v1.CacheAdmin/GetStats",
        "/grpc.health.v1.Health/Nonsense",
        "/grpc.health.v2.Health/Check",
        "/grpc.reflection.v1.ServerReflection/Nonsense",
        "/GetProduct",
        "/",
        "/%00/..",
    ] {
        let reply = raw.send(raw.path(path).header(CONTENT_TYPE, "application/grpc"), framed([])).await;
        table.refused(path, Err::<(), _>(reply.status()), &unknown);
        table.holds(&format!("{path}: a reply with an id"), reply.headers.contains_key("x-request-id"));
    }

    let valid = framed(GetProductRequest { id: "p0".to_owned(), read: None }.encode_to_vec());
    for (content_type, http) in [
        (None, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/json"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/grpcfoo"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/grpc-web"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/grpc-web+proto"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Some("application/grpc"), StatusCode::OK),
        (Some("Application/gRPC"), StatusCode::OK),
        (Some("application/grpc+proto"), StatusCode::OK),
        (Some("application/grpc; charset=utf-8"), StatusCode::OK),
    ] {
        let mut request = raw.path("/larder.catalog.v1.ProductCatalog/GetProduct");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let reply = raw.send(request, valid.clone()).await;
        table.holds(&format!("content-type {content_type:?}: {reply:?}"), reply.http == http);
        let answered = http != StatusCode::OK || reply.status().code() == Code::Ok;
        table.holds(&format!("content-type {content_type:?} is answered: {reply:?}"), answered);
    }
    let request =
        raw.path("/larder.catalog.v1.ProductCatalog/GetProduct").header(CONTENT_TYPE, "application/grpc+json");
    let reply = raw.send(request, valid.clone()).await;
    let expected = Refusal::of(Code::Unimplemented, "CONTENT_TYPE_UNSUPPORTED");
    table.refused("content-type application/grpc+json", Err::<(), _>(reply.status()), &expected);
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD] {
        let reply = raw.send(raw.method("GetProduct").method(method.clone()), Bytes::new()).await;
        table.holds(&format!("{method}: {reply:?}"), reply.http == StatusCode::METHOD_NOT_ALLOWED);
    }

    // Up to what HTTP/2 lets through the answer is gRPC's; beyond it, that of HTTP, and the connection still goes on.
    let large = Refusal::of(Code::ResourceExhausted, "HEADERS_TOO_LARGE");
    for kibibytes in [16, 17, 65, 100, 200, 255] {
        let request = raw.method("GetProduct").header("x-long", "x".repeat(kibibytes << 10));
        let reply = raw.send(request, valid.clone()).await;
        table.refused(&format!("{kibibytes} KiB of headers"), Err::<(), _>(reply.status()), &large);
    }
    let request =
        (0..400).fold(raw.method("GetProduct"), |request, number| request.header(format!("x-{number}"), "1234"));
    let reply = raw.send(request, valid.clone()).await;
    table.refused("400 headers", Err::<(), _>(reply.status()), &large);
    let request = raw.method("GetProduct").header("x-long", "x".repeat(15 << 10));
    let reply = raw.send(request, valid.clone()).await;
    table.holds("15 KiB of headers", reply.status().code() == Code::Ok);
    let request = raw.method("GetProduct").header("x-long", "x".repeat(300 << 10));
    match raw.try_send(request, valid.clone()).await {
        Ok(reply) => {
            let http = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            table.holds(&format!("300 KiB of headers: {reply:?}"), reply.http == http);
        }
        Err(error) => table.holds(&format!("300 KiB of headers: {error:?}"), false),
    }
    let reply = raw.send(raw.method("GetProduct"), valid).await;
    table.holds("the connection goes on", reply.status().code() == Code::Ok);
}

/// Deadlines that cannot be read, and those that have passed.
pub(super) async fn timeouts(server: &Server, table: &mut Table) {
    let mut raw = Raw::connect(server.address()).await;
    let get = |id: &str| framed(GetProductRequest { id: id.to_owned(), read: None }.encode_to_vec());
    for timeout in ["", "1", "S", "10x", "1s", "-1S", "+1S", "1.5S", "123456789n", " 1S", "1 S", "1S,1S", "0x1S"] {
        for (method, body) in [("GetProduct", get("p0")), ("ImportProducts", Bytes::new())] {
            let reply = raw.send(raw.method(method).header("grpc-timeout", timeout), body).await;
            table.invalid(
                &format!("{method}, grpc-timeout {timeout:?}"),
                Err::<(), _>(reply.status()),
                &["grpc-timeout"],
            );
        }
    }
    for timeout in ["99999999H", "1M", "20S"] {
        let reply = raw.send(raw.method("GetProduct").header("grpc-timeout", timeout), get("p0")).await;
        table.holds(&format!("grpc-timeout {timeout}"), reply.status().code() == Code::Ok);
        let reply = raw.send(raw.method("ImportProducts").header("grpc-timeout", timeout), Bytes::new()).await;
        table.holds(&format!("import, grpc-timeout {timeout}"), reply.status().code() == Code::Ok);
    }
    let passed = Refusal::of(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    for timeout in ["0n", "0S", "00000000H", "1n"] {
        for (method, body) in [("GetProduct", get("p0")), ("GetProduct", get("none")), ("ImportProducts", Bytes::new())]
        {
            let reply = raw.send(raw.method(method).header("grpc-timeout", timeout), body).await;
            table.refused(&format!("{method}, grpc-timeout {timeout}"), Err::<(), _>(reply.status()), &passed);
        }
    }
    for timeout in ["1u", "10u"] {
        // A load may be so quick that nobody has to wait for it; it is not each time.
        let mut status = Status::ok("never asked");
        for attempt in 0..100 {
            let request = raw.method("GetProduct").header("grpc-timeout", timeout);
            status = raw.send(request, get(&format!("cold-{timeout}-{attempt}"))).await.status();
            if status.code() != Code::NotFound {
                break;
            }
        }
        table.refused(&format!("grpc-timeout {timeout}"), Err::<(), Status>(status), &passed);
    }
    // Streams keep to a deadline, too, when they name one.
    let mut endless = Request::new(tokio_stream::pending());
    endless.metadata_mut().insert("grpc-timeout", "2S".parse().expect("a timeout"));
    let mut stream = server.client().import_products(endless).await.expect("an import").into_inner();
    table.refused("an import that goes on", stream.message().await, &passed);
    let mut watch = Request::new(larder_proto::catalog::WatchProductsRequest::default());
    watch.metadata_mut().insert("grpc-timeout", "2S".parse().expect("a timeout"));
    let mut stream = server.client().watch_products(watch).await.expect("a stream").into_inner();
    let first = stream.message().await;
    table.holds("the first message of a stream", matches!(first, Ok(Some(_))));
    table.refused("a stream of changes that goes on", stream.message().await, &passed);
}
