//! Compressed calls and calls of web pages, which reach the contracts through the same router as `ProductCatalog`.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use larder_proto::{
    hipstershop::{Empty, GetProductRequest, ListProductsResponse, Product},
    oteldemo::product_catalog_service_client::ProductCatalogServiceClient as Oteldemo,
};
use larder_server::config::{Compression, WebOrigins};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::{Response as Reply, codec::CompressionEncoding::Gzip};

use super::{Contract, Hipstershop, PACKAGES, service};
use crate::{
    harness::{Database, Server, framed, named},
    metrics::scrape,
};

const ORIGIN: &str = "https://shop.example";

/// A server with both contracts, for pages of one origin, which compresses replies.
async fn server(database: &Database) -> Server {
    let server = Server::start_with(database, |config| {
        config.server.compat = Contract::ALL.to_vec();
        config.server.compression = Compression { gzip: true, ..Compression::default() };
        config.server.web_origins = WebOrigins::Listed(vec![ORIGIN.to_owned()]);
    })
    .await;
    server.import((0..50).map(|number| named(&format!("p{number:02}"), "A product"))).await;
    server
}

#[tokio::test]
async fn compressed_calls_of_the_contracts_are_answered_compressed() {
    let database = Database::sqlite();
    let server = server(&database).await;
    let mut plain = Hipstershop::new(server.channel());
    let expected = plain.list_products(Empty {}).await.expect("a list").into_inner();
    assert_eq!(expected.products.len(), 50);

    let mut shop = Hipstershop::new(server.channel()).send_compressed(Gzip).accept_compressed(Gzip);
    let mut other = Oteldemo::new(server.channel()).send_compressed(Gzip).accept_compressed(Gzip);
    let encoding = |reply: &Reply<ListProductsResponse>| reply.metadata().get("grpc-encoding").cloned();
    for reply in [shop.list_products(Empty {}).await, other.list_products(Empty {}).await] {
        let reply = reply.expect("a list");
        assert_eq!(encoding(&reply).expect("an encoding"), "gzip");
        assert_eq!(reply.into_inner(), expected);
    }
    let get = GetProductRequest { id: "p07".to_owned() };
    assert_eq!(shop.get_product(get.clone()).await.expect("a product").into_inner(), expected.products[7]);
    assert_eq!(other.get_product(get).await.expect("a product").into_inner(), expected.products[7]);
    server.stop().await;
}

/// Calls a method by gRPC-Web over HTTP/1.1, as a page of an origin does.
async fn call_from(server: &Server, origin: &str, path: &str, message: Vec<u8>) -> Response<Bytes> {
    let stream = TcpStream::connect(server.address()).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection for HTTP");
    // It ends with the sender.
    tokio::spawn(connection);
    let request = Request::post(format!("/{path}"))
        .header("host", server.address().to_string())
        .header("content-type", "application/grpc-web+proto")
        .header("origin", origin)
        .body(Full::new(framed(message)))
        .expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    Response::from_parts(head, body.collect().await.expect("a whole answer").to_bytes())
}

#[tokio::test]
async fn pages_call_the_contracts_where_they_may_call_the_catalogue() {
    let database = Database::sqlite();
    let server = server(&database).await;
    for package in PACKAGES {
        let path = format!("{}/GetProduct", service(package));
        let get = |id: &str| GetProductRequest { id: id.to_owned() }.encode_to_vec();
        let answer = call_from(&server, ORIGIN, &path, get("p07")).await;
        assert_eq!(
            (answer.status(), &answer.headers()["access-control-allow-origin"]),
            (StatusCode::OK, &ORIGIN.parse().expect("a header"))
        );
        let body = answer.into_body();
        let length = usize::try_from(u32::from_be_bytes([body[1], body[2], body[3], body[4]])).expect("a length");
        let (message, trailers) = body[5..].split_at(length);
        assert_eq!(Product::decode(message).expect("a product").id, "p07");
        assert!(trailers[0] == 0x80 && String::from_utf8_lossy(trailers).contains("grpc-status: 0"), "{trailers:?}");

        let missing = call_from(&server, ORIGIN, &path, get("none")).await;
        let status = missing.headers().get("grpc-status").map(|status| status.to_str().expect("text").to_owned());
        assert_eq!(status.as_deref(), Some("5"), "{missing:?}");
        assert_eq!(
            call_from(&server, "https://other.example", &path, get("p07")).await.status(),
            StatusCode::FORBIDDEN
        );
        let key = format!(
            "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"{path}\",rpc_response_status_code=\"OK\"}}"
        );
        assert_eq!(scrape(&server).await.get(&key), Some(&1.0), "the metrics of the router count it");
    }
    server.stop().await;
}
