//! Products that break rules, and other bad writes.

use larder_proto::{
    catalog::{
        CreateProductRequest, DeleteProductRequest, ImportProductsRequest, Product, RejectedProduct,
        UpdateProductRequest,
    },
    google_type::Money,
};
use prost_types::FieldMask;
use tonic::Code;

use super::Table;
use crate::harness::{Refusal, Server, product};

/// A name, what makes a product bad, and the fields it breaks.
type Bad = (&'static str, fn(&mut Product), &'static [&'static str]);

const BAD_PRODUCTS: [Bad; 33] = [
    ("no name", |product| product.name.clear(), &["name"]),
    ("a blank name", |product| " \t".clone_into(&mut product.name), &["name"]),
    ("a long name", |product| product.name = "x".repeat(513), &["name"]),
    ("a long name in bytes", |product| product.name = "ä".repeat(257), &["name"]),
    ("a zero in the name", |product| "a\0b".clone_into(&mut product.name), &["name"]),
    ("a long description", |product| product.description = "x".repeat(65_537), &["description"]),
    ("a zero in the description", |product| "\0".clone_into(&mut product.description), &["description"]),
    ("no currency", |product| product.price = money("", 1, 0), &["price.currency_code"]),
    ("a small currency", |product| product.price = money("eur", 1, 0), &["price.currency_code"]),
    ("a long currency", |product| product.price = money("EURO", 1, 0), &["price.currency_code"]),
    ("a currency of three bytes", |product| product.price = money("Ä1", 1, 0), &["price.currency_code"]),
    ("negative units", |product| product.price = money("EUR", -1, 0), &["price.units"]),
    ("negative nanos", |product| product.price = money("EUR", 0, -1), &["price.nanos"]),
    ("many nanos", |product| product.price = money("EUR", 0, 1_000_000_000), &["price.nanos"]),
    ("the least price", |product| product.price = money("EUR", i64::MIN, i32::MIN), &["price.units", "price.nanos"]),
    ("an empty category", |product| product.categories = texts(&["a", ""]), &["categories[1]"]),
    ("a repeated category", |product| product.categories = texts(&["a", "b", "a"]), &["categories[2]"]),
    ("a long category", |product| product.categories = vec!["x".repeat(129)], &["categories[0]"]),
    ("a zero in a category", |product| product.categories = texts(&["\0"]), &["categories[0]"]),
    ("many categories", |product| product.categories = numbers(65), &["categories"]),
    ("an empty tag", |product| product.tags = texts(&[""]), &["tags[0]"]),
    ("a repeated tag", |product| product.tags = texts(&["a", "a", "a"]), &["tags[1]", "tags[2]"]),
    ("a long tag", |product| product.tags = vec!["x".repeat(129)], &["tags[0]"]),
    ("a zero in a tag", |product| product.tags = texts(&["a", "b\0"]), &["tags[1]"]),
    ("many tags", |product| product.tags = numbers(65), &["tags"]),
    ("an empty key", |product| attribute(product, "", "v"), &["attributes"]),
    ("a long key", |product| attribute(product, &"k".repeat(129), "v"), &[LONG_KEY]),
    ("a zero in a key", |product| attribute(product, "k\0", "v"), &["attributes[\"k\\0\"]"]),
    ("a long value", |product| attribute(product, "k", &"v".repeat(4_097)), &["attributes[\"k\"]"]),
    ("a zero in a value", |product| attribute(product, "k", "\0"), &["attributes[\"k\"]"]),
    ("many attributes", |product| numbers(129).iter().for_each(|key| attribute(product, key, "")), &["attributes"]),
    ("a long image_url", |product| product.image_url = "x".repeat(2_049), &["image_url"]),
    ("a zero in the image_url", |product| "\0".clone_into(&mut product.image_url), &["image_url"]),
];

/// Only the beginning of a long key is repeated.
const LONG_KEY: &str = "attributes[\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk…\"]";

const BAD_IDS: [&str; 7] = ["a b", "ä", "a/b", "a\0", "\n", "a\u{301}", LONG_ID];
const LONG_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Creations and imports.
pub(super) async fn creations(server: &Server, table: &mut Table) {
    let mut client = server.client();
    let mut imported = Vec::new();
    for (number, (case, spoil, fields)) in BAD_PRODUCTS.into_iter().enumerate() {
        let mut bad = product(&format!("bad{number}"));
        spoil(&mut bad);
        let named: Vec<_> = fields.iter().map(|field| format!("product.{field}")).collect();
        let named: Vec<_> = named.iter().map(String::as_str).collect();
        let request = CreateProductRequest { product: Some(bad.clone()), ..Default::default() };
        table.invalid(&format!("create, {case}"), client.create_product(request).await, &named);
        imported.push((case, bad, fields));
    }
    rejections(server, table, imported).await;

    for id in BAD_IDS {
        let bad = Product { id: id.to_owned(), ..product("") };
        let request = CreateProductRequest { product: Some(bad), ..Default::default() };
        table.invalid(&format!("create, id {id:?}"), client.create_product(request).await, &["product.id"]);
    }
    let none = client.create_product(CreateProductRequest::default()).await;
    table.invalid("create, no product", none, &["product", "product.name"]);
    let long = "x".repeat(129);
    for request_id in ["with space", "ä", "\u{7f}", long.as_str()] {
        let request = CreateProductRequest {
            product: Some(product("new")),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        table.invalid(
            &format!("create, request_id {request_id:?}"),
            client.create_product(request).await,
            &["request_id"],
        );
    }
    let several = Product { id: "a b".to_owned(), name: String::new(), price: money("x", -1, 0), ..product("") };
    let request = CreateProductRequest { product: Some(several), request_id: " ".to_owned(), ..Default::default() };
    let fields = ["product.id", "product.name", "product.price.currency_code", "product.price.units", "request_id"];
    table.invalid("create, everything at once", client.create_product(request).await, &fields);
    let request = CreateProductRequest { product: Some(product("p0")), ..Default::default() };
    let expected = Refusal::of(Code::AlreadyExists, "PRODUCT_EXISTS");
    table.refused("create, an id that is taken", client.create_product(request).await, &expected);
}

/// The same products in one import: each is rejected by itself, and says why.
async fn rejections(server: &Server, table: &mut Table, products: Vec<(&'static str, Product, &[&'static str])>) {
    let requests: Vec<_> = products
        .iter()
        .map(|(_, product, _)| ImportProductsRequest { product: Some(product.clone()), line: 0 })
        .chain([ImportProductsRequest::default()])
        .collect();
    let stream = server.client().import_products(tokio_stream::iter(requests)).await.expect("an import");
    let mut stream = stream.into_inner();
    let mut rejected: Vec<RejectedProduct> = Vec::new();
    while let Some(report) = stream.message().await.expect("the import to go on") {
        rejected.extend(report.rejections);
    }
    table.holds("import, each is rejected", rejected.len() == products.len() + 1);
    for ((case, product, fields), rejected) in products.iter().zip(&rejected) {
        let names = fields.iter().all(|field| rejected.reason.contains(&format!("{field}: ")));
        table.holds(&format!("import, {case}: {rejected:?}"), names && rejected.id == product.id);
    }
}

/// Updates.
pub(super) async fn updates(server: &Server, table: &mut Table) {
    let mut client = server.client();
    let request = |product: Product, paths: &[&str]| UpdateProductRequest {
        product: Some(product),
        update_mask: Some(FieldMask { paths: texts(paths) }),
        ..Default::default()
    };
    for (case, spoil, fields) in BAD_PRODUCTS {
        let mut bad = product("p0");
        spoil(&mut bad);
        let named: Vec<_> = fields.iter().map(|field| format!("product.{field}")).collect();
        let named: Vec<_> = named.iter().map(String::as_str).collect();
        let outcome = client.update_product(request(bad, &["*"])).await;
        table.invalid(&format!("update, {case}"), outcome, &named);
    }
    for path in [
        "",
        "id",
        "etag",
        "create_time",
        "update_time",
        "nonsense",
        "Name",
        "name ",
        "inStock",
        "price.units",
        "attributes.colour",
        "tags[0]",
        "product.name",
        "**",
    ] {
        let outcome = client.update_product(request(product("p0"), &["name", path])).await;
        table.invalid(&format!("update, path {path:?}"), outcome, &["update_mask.paths[1]"]);
    }
    let outcome = client.update_product(request(product("p0"), &["*", "nonsense", "id"])).await;
    table.invalid("update, two bad paths", outcome, &["update_mask.paths[1]", "update_mask.paths[2]"]);
    for id in BAD_IDS.into_iter().chain([""]) {
        let bad = Product { id: id.to_owned(), ..product("") };
        let outcome = client.update_product(request(bad, &["name"])).await;
        table.invalid(&format!("update, id {id:?}"), outcome, &["product.id"]);
    }
    let outcome = client.update_product(UpdateProductRequest::default()).await;
    table.invalid("update, no product", outcome, &["product", "product.id"]);
    let missing = Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND");
    table.refused("update, missing", client.update_product(request(product("none"), &["name"])).await, &missing);
    let differs = Refusal::of(Code::Aborted, "ETAG_MISMATCH");
    for etag in ["0", "x", "ffffffffffffffffffffffff", "\u{1F600}"] {
        let bad = Product { etag: etag.to_owned(), ..product("p0") };
        table.refused(
            &format!("update, etag {etag:?}"),
            client.update_product(request(bad, &["name"])).await,
            &differs,
        );
    }
    let bad = UpdateProductRequest { request_id: "a b".to_owned(), ..request(product("p0"), &["name"]) };
    table.invalid("update, request_id", client.update_product(bad).await, &["request_id"]);
}

/// Deletions, and ids of reads.
pub(super) async fn others(server: &Server, table: &mut Table) {
    let mut client = server.client();
    for id in BAD_IDS.into_iter().chain([""]) {
        let request = DeleteProductRequest { id: id.to_owned(), ..Default::default() };
        table.invalid(&format!("delete, id {id:?}"), client.delete_product(request).await, &["id"]);
        table.invalid(&format!("get, id {id:?}"), server.read(id, None).await, &["id"]);
    }
    let delete =
        |id: &str, etag: &str| DeleteProductRequest { id: id.to_owned(), etag: etag.to_owned(), allow_missing: false };
    let missing = Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND");
    table.refused("delete, missing", client.delete_product(delete("none", "")).await, &missing);
    table.refused("get, missing", server.read("none", None).await, &missing);
    let differs = Refusal::of(Code::Aborted, "ETAG_MISMATCH");
    table.refused("delete, etag", client.delete_product(delete("p0", "x")).await, &differs);
}

#[expect(clippy::unnecessary_wraps, reason = "a product's price may be absent")]
fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.to_owned(), units, nanos })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn attribute(product: &mut Product, key: &str, value: &str) {
    product.attributes.insert(key.to_owned(), value.to_owned());
}
