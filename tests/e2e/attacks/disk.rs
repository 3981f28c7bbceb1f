//! A disk without room.

use larder_proto::catalog::{
    CreateProductRequest, GetProductRequest, ListProductsRequest, ReadOptions, read_options::Consistency,
};
use tonic::Code;

use crate::harness::{Database, Process, product, refusal};

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    let mut client = process.client();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let id = format!("p{round}-{number}");
            let created = client.create_product(create(&id)).await;
            created.unwrap_or_else(|status| panic!("{id}, with room: {status}\n{}", process.log()));
            acknowledged.push(id);
        }
        process.limit_file_size(Some(0));
        for number in 0..10 {
            let status = client.create_product(create(&format!("none{round}-{number}"))).await.expect_err("no room");
            assert!(matches!(status.code(), Code::Unavailable | Code::ResourceExhausted), "{status}");
            let reason = refusal(&status).reason;
            assert!(["DATABASE_UNAVAILABLE", "DATABASE_FULL"].contains(&reason.as_str()), "{reason}");
        }
        for id in &acknowledged {
            let read =
                Some(ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() });
            let got = client.get_product(GetProductRequest { id: id.clone(), read }).await;
            got.unwrap_or_else(|status| panic!("{id}, without room: {status}"));
        }
        client.list_products(ListProductsRequest::default()).await.expect("a list");
        process.limit_file_size(None);
    }
    process.kill().await;

    let process = Process::start(&database).await;
    for id in acknowledged {
        process.client().get_product(GetProductRequest { id, read: None }).await.expect("what was acknowledged");
    }
    let lost = GetProductRequest { id: "none0-0".to_owned(), read: None };
    assert_eq!(process.client().get_product(lost).await.expect_err("a refused write").code(), Code::NotFound);
}

fn create(id: &str) -> CreateProductRequest {
    CreateProductRequest { product: Some(product(id)), ..Default::default() }
}
