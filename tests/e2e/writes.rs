//! Creating, changing and deleting products.

use larder_proto::catalog::{
    CreateProductRequest, DeleteProductRequest, Product, ReadOptions, UpdateProductRequest, read_options::Consistency,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Database, Refusal, Server, named, on_both_databases, product, refusal, user_fields};

on_both_databases!(
    a_product_is_created,
    a_repeated_creation_gets_the_first_reply,
    a_repeated_update_gets_the_first_reply,
    what_is_only_validated_changes_nothing,
    a_product_is_deleted,
);

async fn a_product_is_created(database: &Database) {
    let server = Server::start(database).await;
    let asked = Product {
        etag: "ignored".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..product("own-id")
    };
    let created = server.create(asked.clone()).await;
    let stored = created.product.expect("a product");
    assert_eq!(user_fields(stored.clone()), user_fields(product("own-id")));
    assert!(!stored.etag.is_empty() && stored.etag != asked.etag);
    assert_ne!(stored.create_time, asked.create_time, "times of a request are ignored");
    assert_eq!(stored.create_time, stored.update_time);
    assert!(!created.token.is_empty());

    let unnamed = server.create(named("", "Made by the server")).await.product.expect("a product");
    assert!((1..=64).contains(&unnamed.id.len()), "{}", unnamed.id);
    assert_eq!(server.get(&unnamed.id).await.product, Some(unnamed.clone()));
    let another = server.create(named("", "Made by the server")).await.product.expect("a product");
    assert_ne!(another.id, unnamed.id);

    let again = create(&server, named("own-id", "Another"), "", false).await.expect_err("the id is taken");
    assert_eq!(refusal(&again), Refusal::of(Code::AlreadyExists, "PRODUCT_EXISTS"));
    let resource = again.get_details_resource_info().expect("ResourceInfo");
    assert_eq!(resource.resource_name, "own-id");
    assert_eq!(server.get("own-id").await.product, Some(stored));
    server.stop().await;
}

async fn a_repeated_creation_gets_the_first_reply(database: &Database) {
    let server = Server::start(database).await;
    let (first, first_token) = create(&server, product("a"), "request-1", false).await.expect("a product");
    server.update(named("a", "Changed meanwhile"), &["name"]).await;

    let (again, again_token) = create(&server, product("a"), "request-1", false).await.expect("the first reply");
    assert_eq!(again, first);
    assert!(!first_token.is_empty() && !again_token.is_empty());
    // The token is a fresh one: with it a read shows the change in between.
    let read = ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(again_token)), ..Default::default() };
    let got = server.read("a", Some(read)).await.expect("the product").product.expect("a product");
    assert_eq!(got.name, "Changed meanwhile");

    for (what, other, id) in [("another name", "A", "a"), ("another id", "Name of a", "b")] {
        let mut other_content = product("a");
        other_content.id = id.to_owned();
        other_content.name = other.to_owned();
        let status = create(&server, other_content, "request-1", false).await.expect_err(what);
        assert_eq!(refusal(&status), Refusal::invalid(&["request_id"]), "{what}");
    }
    let status = server.read("b", None).await.expect_err("nothing was created");
    assert_eq!(status.code(), Code::NotFound);

    // Without an id of its own a repeated call names the same product.
    let unnamed = || create(&server, named("", "No id"), "request-2", false);
    let (once, twice) = (unnamed().await.expect("a product"), unnamed().await.expect("a product"));
    assert_eq!(once.0, twice.0);
    server.stop().await;
}

async fn a_repeated_update_gets_the_first_reply(database: &Database) {
    let server = Server::start(database).await;
    server.create(product("a")).await;
    let request = |name: &str| UpdateProductRequest {
        product: Some(named("a", name)),
        request_id: "request-1".to_owned(),
        ..Default::default()
    };
    let mut client = server.client();
    let first = client.update_product(request("First")).await.expect("an update").into_inner();
    server.update(named("a", "Second"), &["name"]).await;
    let again = client.update_product(request("First")).await.expect("the first reply").into_inner();
    assert_eq!(again.product, first.product);
    assert!(!again.token.is_empty());
    assert_eq!(server.get("a").await.product.expect("a product").name, "Second", "nothing is written again");
    let status = client.update_product(request("Third")).await.expect_err("another content");
    assert_eq!(refusal(&status), Refusal::invalid(&["request_id"]));
    let status = create(&server, named("a", "First"), "request-1", false).await.expect_err("another method");
    assert_eq!(refusal(&status), Refusal::invalid(&["request_id"]));
    server.stop().await;
}

async fn what_is_only_validated_changes_nothing(database: &Database) {
    let server = Server::start(database).await;
    let (checked, token) = create(&server, product("a"), "request-1", true).await.expect("a valid request");
    assert_eq!(user_fields(checked), user_fields(product("a")));
    assert_eq!(token, "");
    assert_eq!(server.read("a", None).await.expect_err("nothing was created").code(), Code::NotFound);

    let (stored, _) = create(&server, product("a"), "request-1", false).await.expect("the id was not used up");
    let status = create(&server, product("a"), "", true).await.expect_err("the id is taken");
    assert_eq!(status.code(), Code::AlreadyExists);

    let request = |id: &str, etag: &str| UpdateProductRequest {
        product: Some(Product { etag: etag.to_owned(), ..named(id, "Changed") }),
        validate_only: true,
        ..Default::default()
    };
    let mut client = server.client();
    let checked = client.update_product(request("a", "")).await.expect("a valid request").into_inner();
    assert_eq!((checked.product.expect("a product").name.as_str(), checked.token.as_str()), ("Changed", ""));
    let status = client.update_product(request("a", "1")).await.expect_err("another etag");
    assert_eq!(status.code(), Code::Aborted);
    let status = client.update_product(request("b", "")).await.expect_err("no such product");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(server.get("a").await.product, Some(stored));
    server.stop().await;
}

async fn a_product_is_deleted(database: &Database) {
    let server = Server::start(database).await;
    let stored = server.create(product("a")).await.product.expect("a product");
    server.update(named("a", "Changed"), &["name"]).await;

    let status = delete(&server, "a", &stored.etag, false).await.expect_err("it has changed");
    assert_eq!(refusal(&status), Refusal::of(Code::Aborted, "ETAG_MISMATCH"));
    let status = delete(&server, "a", &stored.etag, true).await.expect_err("it has changed");
    assert_eq!(status.code(), Code::Aborted, "allow_missing does not excuse the etag");
    let etag = server.get("a").await.product.expect("a product").etag;
    let token = delete(&server, "a", &etag, false).await.expect("the etag is right");
    assert!(!token.is_empty());

    let status = server.read("a", None).await.expect_err("it is gone");
    assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND"));
    assert_eq!(status.get_details_resource_info().expect("ResourceInfo").resource_name, "a");
    let status = delete(&server, "a", "", false).await.expect_err("it is gone");
    assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND"));
    let token = delete(&server, "a", "", true).await.expect("it may be missing");
    assert!(!token.is_empty());

    // Another product of the same id has nothing of the old one, least of all its etag.
    let again = server.create(named("a", "Another")).await.product.expect("a product");
    assert_ne!(again.etag, etag);
    assert_eq!(again.description, "");
    let status = delete(&server, "a", &etag, false).await.expect_err("the etag is that of the old one");
    assert_eq!(status.code(), Code::Aborted);
    server.stop().await;
}

async fn create(
    server: &Server,
    product: Product,
    request_id: &str,
    validate_only: bool,
) -> Result<(Product, String), Status> {
    let request = CreateProductRequest { product: Some(product), request_id: request_id.to_owned(), validate_only };
    let reply = server.client().create_product(request).await?.into_inner();
    Ok((reply.product.expect("a product"), reply.token))
}

async fn delete(server: &Server, id: &str, etag: &str, allow_missing: bool) -> Result<String, Status> {
    let request = DeleteProductRequest { id: id.to_owned(), etag: etag.to_owned(), allow_missing };
    Ok(server.client().delete_product(request).await?.into_inner().token)
}
