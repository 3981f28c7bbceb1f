//! The load generator against the bare server, in this process.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use larder_proto::catalog::{BatchGetProductsResponse, GetProductRequest, GetProductResponse, ListProductsResponse};
use prost::Message as _;

use crate::{
    bare::{self, Replies},
    frame,
    load::{Calls, Prepared, Shape, Target, Window, closed, exactly, open},
    products,
};

const GET: &str = "/larder.catalog.v1.ProductCatalog/GetProduct";
const WINDOW: Window = Window { warm_up: Duration::from_millis(20), measured: Duration::from_millis(150) };
const SHAPE: Shape = Shape { connections: 2, streams: 4 };

/// A bare server on threads that end with the test process.
fn start(get: &GetProductResponse) -> Target {
    let replies = Replies::captured(
        &get.encode_to_vec(),
        &BatchGetProductsResponse::default().encode_to_vec(),
        &ListProductsResponse::default().encode_to_vec(),
    )
    .unwrap();
    let (bound, address) = mpsc::channel();
    thread::spawn(move || bare::serve(replies, move |address| Ok(bound.send(address)?)));
    Target { address: address.recv().unwrap(), process: std::process::id() }
}

fn calls(path: &'static str, reply: usize) -> Arc<Calls> {
    let request = GetProductRequest { id: products::id(7), read: None };
    let prepared = Prepared { frame: frame::frame(&request), least: reply, most: reply };
    Arc::new(Calls::new(path, vec![prepared]))
}

#[tokio::test]
async fn measures_a_bare_server() {
    let get = GetProductResponse { product: Some(products::product(7)), cache: None };
    let target = start(&get);
    let right = calls(GET, frame::PREFIX + get.encoded_len());

    let outcome = closed(target, &right, SHAPE, WINDOW).await.unwrap();
    assert_eq!(outcome.faults.first, None);
    assert!(outcome.replies > 0 && outcome.server_micros() > 0.0, "{outcome:?}");
    assert!(outcome.latencies.micros(0.5) <= outcome.latencies.micros(0.999));

    let outcome = open(target, &right, SHAPE.connections, 400.0, WINDOW).await.unwrap();
    assert_eq!(outcome.faults.first, None);
    assert_eq!(outcome.replies, 60, "400 a second for 150 ms");

    let faults = exactly(target, &right, SHAPE, 100).await.unwrap();
    assert_eq!(faults.count, 0);
}

#[tokio::test]
async fn wrong_replies_are_counted() {
    let get = GetProductResponse { product: Some(products::product(7)), cache: None };
    let target = start(&get);
    let length = frame::PREFIX + get.encoded_len();

    let faults = exactly(target, &calls(GET, length + 1), SHAPE, 10).await.unwrap();
    assert_eq!(faults.count, 10);
    assert_eq!(faults.first, Some(format!("{length} DATA bytes instead of {0} to {0}", length + 1)));

    let search = calls("/larder.catalog.v1.ProductCatalog/SearchProducts", length);
    let faults = exactly(target, &search, SHAPE, 10).await.unwrap();
    assert_eq!(faults.count, 10);
    let first = faults.first.unwrap();
    assert!(first.starts_with("grpc-status 12: "), "{first}");
}
