//! Compressed requests and replies.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use larder_proto::catalog::{
    CreateProductRequest, GetProductRequest, ListProductsRequest, ListProductsResponse, Product,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::{Code, codec::CompressionEncoding};

use crate::harness::{
    Client, Database, Grpcio, Process, PyCall, Raw, RawReply, Refusal, Server, framed, framed_compressed, grpcurl,
    named, product, refusal,
};

fn compressed(encoding: CompressionEncoding, message: &[u8]) -> Vec<u8> {
    match encoding {
        CompressionEncoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(message).expect("memory");
            encoder.finish().expect("memory")
        }
        CompressionEncoding::Zstd => zstd::encode_all(message, 19).expect("memory"),
        _ => unreachable!("there are two"),
    }
}

const ENCODINGS: [(&str, CompressionEncoding); 2] =
    [("gzip", CompressionEncoding::Gzip), ("zstd", CompressionEncoding::Zstd)];

fn get(id: &str) -> Vec<u8> {
    GetProductRequest { id: id.to_owned(), read: None }.encode_to_vec()
}

#[tokio::test]
async fn compressed_requests_are_accepted_and_bombs_refused() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    let mut raw = Raw::connect(process.address()).await;
    for (number, (name, encoding)) in ENCODINGS.into_iter().enumerate() {
        let client = Client::new(process.channel()).send_compressed(encoding).accept_compressed(encoding);
        let large = Product { description: "long ".repeat(10_000), ..named(&format!("p{number}"), "A product") };
        let request = CreateProductRequest { product: Some(large), ..Default::default() };
        client.clone().create_product(request).await.expect("a product");
        let reply = client.clone().list_products(ListProductsRequest::default()).await.expect("a page").into_inner();
        assert_eq!(reply.products.len(), number + 1, "{name}");

        let good = framed_compressed(compressed(encoding, &get("p0")));
        let reply = raw.send(raw_request(&raw, name), good).await;
        assert_eq!(reply.status().code(), Code::Ok, "{name}: {reply:?}");
        // Nobody asked for a compressed reply.
        assert_eq!(reply.headers.get("grpc-encoding"), None, "{name}");

        let bomb = compressed(encoding, &vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 17, "{name}: {}", bomb.len());
        let before = resident(process.pid());
        for _ in 0..8 {
            let reply = raw.send(raw_request(&raw, name), framed_compressed(&bomb)).await;
            assert_eq!(refusal(&reply.status()), Refusal::of(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"), "{name}");
        }
        let grown = resident(process.pid()).saturating_sub(before);
        assert!(grown < 48 << 20, "{name}: {grown} bytes more");
    }
    assert_eq!(process.stop().await.code(), Some(0));
}

fn raw_request(raw: &Raw, encoding: &str) -> http::request::Builder {
    raw.method("GetProduct").header("grpc-encoding", encoding)
}

/// The memory of a process, in bytes. Where there is no /proc it is not looked at.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) << 10
}

#[tokio::test]
async fn replies_are_compressed_as_configured_for_clients_that_accept_it() {
    let database = Database::sqlite();
    for (configured, given) in [
        ("none", [None, None, None]),
        ("gzip", [Some("gzip"), None, Some("gzip")]),
        ("zstd", [None, Some("zstd"), Some("zstd")]),
        ("gzip, zstd", [Some("gzip"), Some("zstd"), Some("zstd")]),
    ] {
        let process =
            Process::start_with(&database, &["--compress-replies", configured, "--sample-catalogue=true"]).await;
        let mut raw = Raw::connect(process.address()).await;
        let plain = list(&mut raw, None).await;
        for (accepted, given) in ["identity,deflate, gzip", "zstd", "zstd,gzip,identity"].into_iter().zip(given) {
            let reply = list(&mut raw, Some(accepted)).await;
            let encoding = reply.headers.get("grpc-encoding").map(|value| value.to_str().expect("text"));
            assert_eq!(encoding, given, "{configured}, {accepted}");
            assert_eq!(products(&reply), products(&plain), "{configured}, {accepted}");
            assert!(given.is_none() || reply.body.len() < plain.body.len() / 2, "{}", reply.body.len());
            // A small reply stays as it is, and says so by its flag.
            let request = raw.method("GetProduct").header("grpc-accept-encoding", accepted);
            let small = raw.send(request, framed(get("copper-saucepan-18cm"))).await;
            assert_eq!(small.status().code(), Code::Ok);
            assert!(small.body.len() >= 1 << 10 || small.body[0] == 0, "{} bytes", small.body.len());
        }
        everybody_reads(&process).await;
        assert_eq!(process.stop().await.code(), Some(0));
    }
}

async fn list(raw: &mut Raw, accepted: Option<&str>) -> RawReply {
    let request = raw.method("ListProducts");
    let request = match accepted {
        None => request,
        Some(accepted) => request.header("grpc-accept-encoding", accepted),
    };
    let reply = raw.send(request, framed(ListProductsRequest::default().encode_to_vec())).await;
    assert_eq!(reply.status().code(), Code::Ok, "{reply:?}");
    reply
}

/// The products of a page.
fn products(reply: &RawReply) -> Vec<Product> {
    let message = reply.body.slice(5..);
    let message: Bytes = match (reply.body[0], reply.headers.get("grpc-encoding").map(http::HeaderValue::as_bytes)) {
        (0, _) => message,
        (1, Some(b"gzip")) => {
            let mut bytes = Vec::new();
            GzDecoder::new(&*message).read_to_end(&mut bytes).expect("gzip");
            bytes.into()
        }
        (1, Some(b"zstd")) => zstd::decode_all(&*message).expect("zstd").into(),
        other => panic!("{other:?}"),
    };
    ListProductsResponse::decode(message).expect("a page").products
}

/// grpcio and grpcurl accept gzip unless they are told otherwise, the CLI also zstd; grpcio sends compressed requests here.
async fn everybody_reads(process: &Process) {
    let ran = process.larder(&["list", "--json", "--page-size", "50"]).await;
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 50), "{}", ran.err);
    let ids: Vec<String> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned())
        .collect();

    if let Some(grpcio) = Grpcio::find() {
        let request = ListProductsRequest::default().encode_to_vec();
        let calls = vec![
            PyCall::new("ListProducts", std::slice::from_ref(&request)).with("compression", "gzip"),
            PyCall::new("ListProducts", &[request]),
            PyCall::new("GetProduct", &[vec![0; 64 << 20]]).with("compression", "gzip"),
        ];
        let [zipped, plain, bomb] = grpcio.call(process.address(), calls).await.try_into().expect("three replies");
        for reply in [zipped, plain] {
            assert_eq!(reply.status.code(), Code::Ok, "{:?}", reply.status);
            let page = ListProductsResponse::decode(&*reply.replies[0]).expect("a page").products;
            assert_eq!(page.into_iter().map(|product| product.id).collect::<Vec<_>>(), ids);
        }
        assert_eq!(refusal(&bomb.status), Refusal::of(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        assert_eq!(bomb.status.message(), "the message is larger than the server accepts");
    }
    if let Some(grpcurl) = grpcurl() {
        let mut command = Command::new(grpcurl);
        command.args(["-plaintext", "-d", "{}", &process.address().to_string()]);
        let output = command.arg("larder.catalog.v1.ProductCatalog/ListProducts").output().await.expect("grpcurl");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let shown = shown["products"].as_array().expect("products").iter().map(|product| product["id"].clone());
        assert_eq!(shown.collect::<Vec<_>>(), ids.iter().map(|id| json!(id)).collect::<Vec<_>>());
    }
}

/// Streams are compressed both ways.
#[tokio::test]
async fn imports_are_compressed_both_ways() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| config.server.compression.zstd = true).await;
    let mut client =
        server.client().send_compressed(CompressionEncoding::Zstd).accept_compressed(CompressionEncoding::Zstd);
    let requests: Vec<_> = (0..600)
        .map(|number| larder_proto::catalog::ImportProductsRequest {
            product: Some(product(&format!("p{number}"))),
            line: 0,
        })
        .collect();
    let reply = client.import_products(tokio_stream::iter(requests)).await.expect("an import");
    assert_eq!(reply.metadata().get("grpc-encoding").map(tonic::metadata::MetadataValue::as_bytes), Some(&b"zstd"[..]));
    let mut stream = reply.into_inner();
    let mut created = 0;
    while let Some(report) = stream.message().await.expect("the import to go on") {
        created = report.created;
    }
    assert_eq!(created, 600);
    server.stop().await;
}
