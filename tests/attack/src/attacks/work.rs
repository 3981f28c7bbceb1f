//! Work without end.

use std::time::Duration;

use larder_proto::catalog::{
    CreateProductRequest, GetProductRequest, ListProductsRequest, Product, SearchProductsRequest,
    product_catalog_client::ProductCatalogClient,
};
use larder_test_servers::wire::{Wire, call};
use rand::Rng as _;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use super::Field;

/// Calls of one attacker before it connects anew.
const CALLS: u32 = 1_000;
const DEADLINE: Duration = Duration::from_secs(5);

type Client = ProductCatalogClient<Channel>;

async fn client(field: Field) -> anyhow::Result<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{}", field.catalog))?.local_address(Some(field.source));
    Ok(Client::new(endpoint.connect().await?))
}

fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

pub(super) async fn malformed(field: Field) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    for number in 0..100 {
        let method = if number % 2 == 0 { "GetProduct" } else { "ListProducts" };
        wire.send(&call(number * 2 + 1, method, &[], &[0xff; 1_000])).await?;
    }
    // Above the limit of a message.
    wire.send(&call(201, "CreateProduct", &[], &vec![0; 5 << 20])).await?;
    while wire.receive().await.is_some_and(|frame| frame.stream != 201) {}
    Ok(())
}

pub(super) async fn unknown_ids(field: Field) -> anyhow::Result<()> {
    let mut client = client(field).await?;
    for _ in 0..CALLS {
        let id = format!("none-{:016x}", rand::rng().random::<u64>());
        let _ = client.get_product(timed(GetProductRequest { id, read: None }, DEADLINE)).await;
    }
    Ok(())
}

/// Searches and lists that no cache has.
pub(super) async fn searches(field: Field, deadline: Duration) -> anyhow::Result<()> {
    let mut client = client(field).await?;
    for _ in 0..CALLS {
        let number: u32 = rand::rng().random();
        if number.is_multiple_of(2) {
            let query = format!("product {number}");
            let search = SearchProductsRequest { query, page_size: 100, ..Default::default() };
            let _ = client.search_products(timed(search, deadline)).await;
        } else {
            let page_size = 1 + i32::try_from(number % 1_000)?;
            let list = ListProductsRequest { page_size, ..Default::default() };
            let _ = client.list_products(timed(list, deadline)).await;
        }
    }
    Ok(())
}

pub(super) async fn writes(field: Field) -> anyhow::Result<()> {
    let mut client = client(field).await?;
    for _ in 0..CALLS {
        let id = format!("written-{}", rand::rng().random_range(0..10_000));
        let product = Some(Product { name: id.clone(), id, ..Product::default() });
        let _ = client.create_product(timed(CreateProductRequest { product, ..Default::default() }, DEADLINE)).await;
    }
    Ok(())
}
