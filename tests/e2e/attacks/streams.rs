//! Streams that only wait.

use std::time::Duration;

use larder_proto::catalog::ImportProductsRequest;
use tonic::Code;

use crate::harness::{Database, Refusal, Server, eventually, product, refusal};
use larder_test_servers::wire::{DATA, HEADERS, Wire, frame};

/// Three quarters of the imports that a server takes at once.
const OF_ONE_PEER: usize = 12;

#[tokio::test]
async fn one_client_has_only_so_many_imports() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    let mut imports = Vec::new();
    for _ in 0..OF_ONE_PEER {
        let mut wire = Wire::greet(server.address()).await;
        wire.begin(1, "ImportProducts", &[]).await;
        while wire.receive().await.expect("an answer").kind != HEADERS {}
        imports.push(wire);
    }
    let import =
        async || server.client().import_products(tokio_stream::empty::<ImportProductsRequest>()).await.map(drop);
    let status = import().await.expect_err("no place");
    assert_eq!(refusal(&status), Refusal::of(Code::ResourceExhausted, "TOO_MANY_IMPORTS"));
    drop(imports);
    eventually("a place", async || import().await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_does_not_end_is_given_up() {
    let database = Database::sqlite();
    let server =
        Server::start_with(&database, |config| config.server.deadlines.message = Duration::from_millis(300)).await;
    server.create(product("a")).await;
    for method in ["ImportProducts", "GetProduct"] {
        let mut wire = Wire::greet(server.address()).await;
        wire.begin(1, method, &[]).await;
        // A message of a megabyte, of which five bytes come.
        wire.send(&frame(DATA, 0, 1, &[0, 0, 0x10, 0, 0, 1, 2, 3, 4, 5])).await.expect("a part of a message");
        // An import has headers and trailers, any other call has its error in the headers.
        for _ in 0..if method == "ImportProducts" { 2 } else { 1 } {
            while wire.receive().await.expect("an answer").kind != HEADERS {}
        }
    }
    server.get("a").await;
    server.stop().await;
}
