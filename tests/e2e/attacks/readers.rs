//! Clients that do not read their replies.

use larder_proto::catalog::{BatchGetProductsRequest, CreateProductRequest, GetProductRequest, Product};
use prost::Message as _;

use crate::harness::{Database, Process, named};
use larder_test_servers::wire::{HEADERS, RST_STREAM, Wire};

const BATCHES: u32 = 25;

#[tokio::test]
async fn a_client_that_reads_nothing_pins_no_memory() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    let mut polite = process.client();
    let large = Product { description: "x".repeat(65_000), ..named("large", "Large") };
    let create = CreateProductRequest { product: Some(large), ..Default::default() };
    polite.create_product(create).await.expect("a product");
    let get = || GetProductRequest { id: "large".to_owned(), read: None };
    polite.get_product(get()).await.expect("a copy");
    let before = process.memory();

    let batch = BatchGetProductsRequest { ids: vec!["large".to_owned(); 1_000], read: None }.encode_to_vec();
    let mut attacker = Wire::without_window(process.address()).await;
    for number in 0..BATCHES {
        attacker.call(number * 2 + 1, "BatchGetProducts", &[("grpc-timeout", "5S")], &batch).await;
    }
    let mut answered = 0;
    while answered < BATCHES {
        let frame = attacker.receive().await.expect("an answer");
        answered += u32::from(frame.kind == HEADERS);
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
    }
    polite.get_product(get()).await.expect("an answer for somebody else");
    let growth = process.memory().saturating_sub(before);
    assert!(growth < 64 << 20, "{} MiB", growth >> 20);

    // The deadline of a call holds for its reply.
    let mut reset = 0;
    while reset < BATCHES {
        let frame = attacker.receive().await.expect("the end of each stream");
        reset += u32::from(frame.kind == RST_STREAM);
    }
}

#[tokio::test]
async fn a_reader_gets_every_product_that_it_names() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    let mut client = process.client();
    for (id, length) in [("small", 10), ("medium", 17_000), ("large", 65_000)] {
        let product = Product { description: "x".repeat(length), ..named(id, id) };
        let create = CreateProductRequest { product: Some(product), ..Default::default() };
        client.create_product(create).await.expect("a product");
    }
    let ids: Vec<String> =
        ["small", "large", "none", "medium", "small"].iter().cycle().take(1_000).map(|&id| id.into()).collect();
    let request = BatchGetProductsRequest { ids: ids.clone(), read: None };
    let reply = client.batch_get_products(request).await.expect("a reply").into_inner();
    let found: Vec<&str> = reply.products.iter().map(|product| product.id.as_str()).collect();
    let expected: Vec<&str> = ids.iter().map(String::as_str).filter(|id| *id != "none").collect();
    assert_eq!(found, expected);
    assert!(reply.products.iter().all(|product| product.id != "large" || product.description.len() == 65_000));
    assert_eq!(reply.missing_ids, ["none"]);
}
