//! A server starts, answers and stops: inside the test, and as a process.

use larder_proto::catalog::{CreateProductRequest, GetProductRequest};

use crate::harness::{Database, Process, Server, on_both_databases, product};

on_both_databases!(a_server_answers_and_stops, a_process_answers_and_stops);

async fn a_server_answers_and_stops(database: &Database) {
    let server = Server::start(database).await;
    let created = server.create(product("a")).await;
    assert_eq!(server.get("a").await.product, created.product);
    server.stop().await;

    let server = Server::start(database).await;
    assert_eq!(server.get("a").await.product, created.product, "after a new start");
    server.stop().await;
}

async fn a_process_answers_and_stops(database: &Database) {
    let process = Process::start(database).await;
    let request = CreateProductRequest { product: Some(product("a")), ..Default::default() };
    let created = process.client().create_product(request).await.expect("a product").into_inner();
    process.kill().await;

    let process = Process::start(database).await;
    let request = GetProductRequest { id: "a".to_owned(), read: None };
    let got = process.client().get_product(request).await.expect("the product").into_inner();
    assert_eq!(got.product, created.product, "after kill -9");
    let ended = process.stop().await;
    assert_eq!(ended.code(), Some(0), "{ended}");
}
