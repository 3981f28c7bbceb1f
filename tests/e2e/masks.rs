//! Updates by mask.

use larder_proto::{
    catalog::{Product, UpdateProductRequest, UpdateProductResponse},
    google_type::Money,
};
use prost_types::FieldMask;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Database, Refusal, Server, named, on_both_databases, product, refusal, user_fields};

on_both_databases!(
    each_path_changes_its_field_and_no_other,
    a_star_replaces_everything,
    an_empty_mask_means_the_populated_fields,
    a_missing_product_is_created_when_that_is_allowed,
    an_etag_guards_an_update,
);

const PATHS: [&str; 8] = ["name", "description", "price", "categories", "tags", "attributes", "image_url", "in_stock"];

async fn each_path_changes_its_field_and_no_other(database: &Database) {
    let server = Server::start(database).await;
    let empty = Product { name: "Needed".to_owned(), ..Product::default() };
    for (kind, values) in [("other", other()), ("empty", empty)] {
        for path in PATHS {
            let id = format!("{path}-{kind}");
            let before = server.create(product(&id)).await.product.expect("a product");
            let asked = Product { id: id.clone(), ..values.clone() };
            let reply = update(&server, asked.clone(), &[path], false).await.expect("an update");
            let after = reply.product.expect("a product");
            let mut expected = before.clone();
            copy(path, &asked, &mut expected);
            assert_ne!(expected, before, "{path}: the test must change something");
            expected.etag.clone_from(&after.etag);
            expected.update_time = after.update_time;
            assert_eq!(after, expected, "{path}");
            assert_ne!(after.etag, before.etag, "{path}");
            assert!(later(&before, &after), "{path}: {before:?} {after:?}");
            assert!(!reply.token.is_empty());
            assert_eq!(server.get(&id).await.product, Some(after), "{path}");
        }
    }
    let (before, asked) = (product("several"), Product { id: "several".to_owned(), ..other() });
    server.create(before).await;
    let reply = update(&server, asked.clone(), &["tags", "name", "tags"], false).await.expect("an update");
    let after = reply.product.expect("a product");
    assert_eq!((&after.name, &after.tags), (&asked.name, &asked.tags));
    assert_eq!(after.categories, product("several").categories);
    server.stop().await;
}

async fn a_star_replaces_everything(database: &Database) {
    let server = Server::start(database).await;
    server.create(product("a")).await;
    let after = update(&server, named("a", "Bare"), &["*"], false).await.expect("an update").product;
    let after = after.expect("a product");
    assert_eq!(user_fields(after), named("a", "Bare"));
    let status = update(&server, named("a", ""), &["*"], false).await.expect_err("a product needs a name");
    assert_eq!(refusal(&status), Refusal::invalid(&["product.name"]));
    server.stop().await;
}

async fn an_empty_mask_means_the_populated_fields(database: &Database) {
    let server = Server::start(database).await;
    let before = server.create(product("a")).await.product.expect("a product");
    let asked = Product { tags: vec!["new".to_owned()], ..named("a", "New name") };
    let after = update(&server, asked, &[], false).await.expect("an update").product.expect("a product");
    let expected = Product {
        name: "New name".to_owned(),
        tags: vec!["new".to_owned()],
        etag: after.etag.clone(),
        update_time: after.update_time,
        ..before
    };
    assert_eq!(after, expected, "what is empty stays as it was, in_stock as well");
    server.stop().await;
}

async fn a_missing_product_is_created_when_that_is_allowed(database: &Database) {
    let server = Server::start(database).await;
    let status = update(&server, product("a"), &["*"], false).await.expect_err("there is none");
    assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND"));
    assert_eq!(status.get_details_resource_info().expect("ResourceInfo").resource_name, "a");

    let created = update(&server, product("a"), &["*"], true).await.expect("a product").product.expect("a product");
    assert_eq!(user_fields(created.clone()), product("a"));
    assert_eq!(server.get("a").await.product, Some(created));
    let changed = update(&server, named("a", "Changed"), &["name"], true).await.expect("an update").product;
    assert_eq!(user_fields(changed.expect("a product")), Product { name: "Changed".to_owned(), ..product("a") });

    let status = update(&server, named("b", ""), &["in_stock"], true).await.expect_err("a product needs a name");
    assert_eq!(refusal(&status), Refusal::invalid(&["product.name"]));
    server.stop().await;
}

async fn an_etag_guards_an_update(database: &Database) {
    let server = Server::start(database).await;
    let first = server.create(product("a")).await.product.expect("a product");
    let with = |etag: &str, name: &str| Product { etag: etag.to_owned(), ..named("a", name) };
    let second = update(&server, with(&first.etag, "Second"), &["name"], false).await.expect("the etag is right");
    let second = second.product.expect("a product");
    for etag in [first.etag.as_str(), "of another server", "FF", "0"] {
        let status = update(&server, with(etag, "Third"), &["name"], false).await.expect_err(etag);
        assert_eq!(refusal(&status), Refusal::of(Code::Aborted, "ETAG_MISMATCH"), "{etag}");
        assert_eq!(status.get_details_resource_info().expect("ResourceInfo").resource_name, "a");
        let status = update(&server, with(etag, "Third"), &["name"], true).await.expect_err(etag);
        assert_eq!(status.code(), Code::Aborted, "allow_missing does not excuse the etag {etag}");
    }
    assert_eq!(server.get("a").await.product, Some(second.clone()));
    update(&server, with(&second.etag, "Third"), &["name"], false).await.expect("the etag is right");
    server.stop().await;
}

/// Values that differ from those of every product of the tests.
fn other() -> Product {
    Product {
        name: "Another name".to_owned(),
        description: "Another description".to_owned(),
        price: Some(Money { currency_code: "JPY".to_owned(), units: i64::MAX, nanos: 0 }),
        categories: vec!["garden".to_owned()],
        tags: vec!["steel".to_owned(), "new".to_owned()],
        attributes: [("weight".to_owned(), "1 kg".to_owned())].into(),
        image_url: "https://example.org/another.jpg".to_owned(),
        in_stock: false,
        ..Product::default()
    }
}

fn copy(path: &str, from: &Product, to: &mut Product) {
    let from = from.clone();
    match path {
        "name" => to.name = from.name,
        "description" => to.description = from.description,
        "price" => to.price = from.price,
        "categories" => to.categories = from.categories,
        "tags" => to.tags = from.tags,
        "attributes" => to.attributes = from.attributes,
        "image_url" => to.image_url = from.image_url,
        "in_stock" => to.in_stock = from.in_stock,
        _ => panic!("{path} is no path"),
    }
}

fn later(before: &Product, after: &Product) -> bool {
    let time = |product: &Product| product.update_time.map(|time| (time.seconds, time.nanos));
    time(before) <= time(after)
}

async fn update(
    server: &Server,
    product: Product,
    paths: &[&str],
    allow_missing: bool,
) -> Result<UpdateProductResponse, Status> {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let request = UpdateProductRequest {
        product: Some(product),
        update_mask: Some(FieldMask { paths }),
        allow_missing,
        ..Default::default()
    };
    Ok(server.client().update_product(request).await?.into_inner())
}
