//! Headers of requests and replies.

use larder_proto::catalog::{
    BatchGetProductsRequest, CreateProductRequest, GetProductRequest, ImportProductsRequest, ListProductsRequest,
    ProductFilter, SearchProductsRequest,
};
use tonic::{Request, metadata::MetadataMap};

use crate::harness::{Database, Server, on_both_databases, product};

on_both_databases!(every_reply_has_the_id_of_its_request, a_reply_tells_about_the_cache_when_asked);

async fn every_reply_has_the_id_of_its_request(database: &Database) {
    let server = Server::start(database).await;
    let mut client = server.client();
    let created = client.create_product(with_id("id-1", create("a"))).await.expect("a product");
    assert_eq!(id(created.metadata()), "id-1");
    let got = client.get_product(with_id("id-2", get("a"))).await.expect("a product");
    assert_eq!(id(got.metadata()), "id-2", "of a miss");
    let got = client.get_product(with_id("id-3", get("a"))).await.expect("a product");
    assert_eq!(id(got.metadata()), "id-3", "of a hit");
    let products = tokio_stream::iter([ImportProductsRequest { product: Some(product("b")), line: 0 }]);
    let imported = client.import_products(with_id("id-4", products)).await.expect("an import");
    assert_eq!(id(imported.metadata()), "id-4");

    let missing = client.get_product(with_id("id-5", get("none"))).await.expect_err("there is none");
    assert_eq!(id(missing.metadata()), "id-5");
    let invalid = client.get_product(with_id("id-6", get("a b"))).await.expect_err("no id");
    assert_eq!(id(invalid.metadata()), "id-6");

    let longest = "x".repeat(128);
    let got = client.get_product(with_id(&longest, get("a"))).await.expect("a product");
    assert_eq!(id(got.metadata()), longest);
    let mut made = Vec::new();
    for bad in ["", "two words", &"x".repeat(129)] {
        let got = client.get_product(with_id(bad, get("a"))).await.expect("a product");
        made.push(id(got.metadata()));
    }
    made.push(id(client.get_product(get("a")).await.expect("a product").metadata()));
    made.push(id(client.get_product(get("a b")).await.expect_err("no id").metadata()));
    for id in &made {
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
    }
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 5, "each is another one");
    server.stop().await;
}

async fn a_reply_tells_about_the_cache_when_asked(database: &Database) {
    let server = Server::start(database).await;
    server.create(product("a")).await;
    server.settle().await;
    let mut client = server.client();
    for (cache_status, tier) in [("MISS", "DATABASE"), ("HIT", "L1")] {
        let got = client.get_product(asking(get("a"))).await.expect("a product");
        about(got.metadata(), cache_status, tier, "product:a", 600_000);
        let missing = client.get_product(asking(get("none"))).await.expect_err("there is none");
        about(missing.metadata(), cache_status, tier, "product:none", 10_000);
    }
    for (cache_status, tier) in [("MISS", "DATABASE"), ("HIT", "L1")] {
        let filter = Some(ProductFilter { category: "pans".to_owned(), ..Default::default() });
        let request = ListProductsRequest { filter, order_by: "name desc".to_owned(), ..Default::default() };
        let page = client.list_products(asking(request)).await.expect("a page");
        let key = "list:order=name desc&category=pans&size=50&count=false&after=";
        about(page.metadata(), cache_status, tier, key, 60_000);
        let request = SearchProductsRequest { query: "Näme of".to_owned(), ..Default::default() };
        let page = client.search_products(asking(request)).await.expect("a page");
        about(page.metadata(), cache_status, tier, "search:query=name of&size=50&after=", 60_000);
    }
    let request = BatchGetProductsRequest { ids: vec!["a".to_owned(), "none".to_owned()], read: None };
    let batch = client.batch_get_products(asking(request)).await.expect("a batch");
    about(batch.metadata(), "HIT", "L1", "product:*", 10_000);

    // However long the name of a copy is, its header has a limit.
    let filter = ProductFilter { category: "ä".repeat(64), tag: "ö".repeat(64), ..Default::default() };
    let query = (0..64).map(|number| format!("{number:030}")).collect::<Vec<_>>().join(" ");
    let request = SearchProductsRequest { query, filter: Some(filter), ..Default::default() };
    let page = client.search_products(asking(request)).await.expect("a page");
    let key = page.metadata().get("x-cache-key").expect("a header").to_str().expect("text");
    assert!(key.starts_with("search:query=") && key.ends_with("..."), "{key}");
    // A header holds no umlaut.
    assert!(key.contains("&category=\\xc3\\xa4\\xc3\\xa4"), "{key}");
    assert_eq!(key.len(), 2_048 + 3);

    for asked in [None, Some("0"), Some("true")] {
        let mut request = Request::new(get("a"));
        if let Some(asked) = asked {
            request.metadata_mut().insert("x-cache-debug", asked.parse().expect("a header"));
        }
        let got = client.get_product(request).await.expect("a product");
        assert_eq!(got.metadata().get("x-cache-status").expect("a header"), "HIT");
        for name in ["x-cache-tier", "x-cache-key", "x-cache-ttl"] {
            assert!(!got.metadata().contains_key(name), "{name}, when {asked:?} was asked");
        }
    }
    let written = client.create_product(asking(create("b"))).await.expect("a product");
    assert!(!written.metadata().contains_key("x-cache-status"), "a write comes from no cache");
    server.stop().await;
}

/// Checks what a reply says of the cache; its time to live is at most that of its kind.
fn about(metadata: &MetadataMap, cache_status: &str, tier: &str, key: &str, ttl: u64) {
    let value = |name| metadata.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text");
    assert_eq!(value("x-cache-status"), cache_status, "{key}");
    assert_eq!(value("x-cache-tier"), tier, "{key}");
    assert_eq!(value("x-cache-key"), key);
    let told: u64 = value("x-cache-ttl").parse().expect("milliseconds");
    assert!((1..=ttl).contains(&told), "{key}: {told}");
}

fn asking<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("x-cache-debug", "1".parse().expect("a header"));
    request
}

fn with_id<T>(id: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("x-request-id", id.parse().expect("a header"));
    request
}

fn id(metadata: &MetadataMap) -> String {
    let mut ids = metadata.get_all("x-request-id").iter();
    let id = ids.next().expect("an id").to_str().expect("text").to_owned();
    assert!(ids.next().is_none(), "one id");
    id
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), read: None }
}

fn create(id: &str) -> CreateProductRequest {
    CreateProductRequest { product: Some(product(id)), ..Default::default() }
}
