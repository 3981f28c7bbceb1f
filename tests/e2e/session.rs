//! The header that makes a session read its own writes.

use larder_proto::catalog::{
    BatchGetProductsRequest, CreateProductRequest, DeleteProductRequest, GetProductRequest, ListProductsRequest,
    ReadOptions, SearchProductsRequest, UpdateProductRequest, read_options::Consistency,
};
use prost_types::FieldMask;
use tonic::{Request, Status, metadata::MetadataMap};

use crate::harness::{Client, Database, Refusal, Server, named, on_both_databases, product, refusal};

on_both_databases!(
    the_replies_to_writes_name_their_commits,
    every_read_shows_the_commits_that_its_header_names,
    each_token_of_the_header_counts,
);

const HEADER: &str = "x-larder-token";
const ROUNDS: usize = 100;

async fn the_replies_to_writes_name_their_commits(database: &Database) {
    let server = Server::start(database).await;
    let mut client = server.client();
    let create =
        |validate_only| CreateProductRequest { product: Some(product("a")), validate_only, ..Default::default() };
    let checked = client.create_product(create(true)).await.expect("a right product");
    assert!(!checked.metadata().contains_key(HEADER));
    let created = client.create_product(create(false)).await.expect("a product");
    assert_eq!(token(created.metadata()), created.get_ref().token);
    let updated = client.update_product(rename("Other")).await.expect("a product");
    assert_eq!(token(updated.metadata()), updated.get_ref().token);
    let delete = DeleteProductRequest { id: "a".to_owned(), ..Default::default() };
    let deleted = client.delete_product(delete.clone()).await.expect("a deletion");
    assert_eq!(token(deleted.metadata()), deleted.get_ref().token);
    let refused = client.delete_product(delete).await.expect_err("it is gone");
    assert!(!refused.metadata().contains_key(HEADER));
    server.stop().await;
}

async fn every_read_shows_the_commits_that_its_header_names(database: &Database) {
    let writer = Server::start(database).await;
    let reader = Server::start(database).await;
    writer.create(named("a", "Round r0x")).await;
    let (mut write, mut read) = (writer.client(), reader.client());
    for round in 1..=ROUNDS {
        let name = format!("Round r{round}x");
        let tokens = [token(write.update_product(rename(&name)).await.expect("a product").metadata())];
        let got = read.get_product(with(&tokens, get("a"))).await.expect("the product").into_inner();
        assert_eq!(got.product.expect("a product").name, name, "get in round {round}");
        let batch = BatchGetProductsRequest { ids: vec!["a".to_owned()], read: None };
        let batch = read.batch_get_products(with(&tokens, batch)).await.expect("a batch").into_inner();
        assert_eq!(batch.products[0].name, name, "batch in round {round}");
        let list =
            read.list_products(with(&tokens, ListProductsRequest::default())).await.expect("a page").into_inner();
        assert_eq!(list.products[0].name, name, "list in round {round}");
        let search = SearchProductsRequest { query: format!("r{round}x"), ..Default::default() };
        let search = read.search_products(with(&tokens, search)).await.expect("a page").into_inner();
        assert_eq!(search.products.len(), 1, "search in round {round}");
    }
    writer.stop().await;
    reader.stop().await;
}

async fn each_token_of_the_header_counts(database: &Database) {
    let another = Database::sqlite();
    let (server, other) = (Server::start(database).await, Server::start(&another).await);
    let own = server.create(product("a")).await.token;
    let foreign = other.create(product("a")).await.token;
    let mut client = server.client();
    let both = [own.clone(), own.clone()];
    client.get_product(with(&both, get("a"))).await.expect("both are of this database");
    for tokens in [[own.clone(), foreign.clone()], [foreign.clone(), own.clone()]] {
        for status in read_in_every_way(&mut client, &tokens).await {
            assert_eq!(refusal(&status), Refusal::token("TOKEN_LOST"));
        }
        let joined = [tokens.join(", ")];
        let status = client.get_product(with(&joined, get("a"))).await.expect_err("a token of another database");
        assert_eq!(refusal(&status), Refusal::token("TOKEN_LOST"));
    }
    for status in read_in_every_way(&mut client, &["nonsense".to_owned()]).await {
        assert_eq!(refusal(&status), Refusal::invalid(&[HEADER]));
    }
    let chosen = ReadOptions { consistency: Some(Consistency::MinimizeLatency(true)), ..Default::default() };
    let chosen = GetProductRequest { id: "a".to_owned(), read: Some(chosen) };
    client.get_product(with(&[foreign], chosen)).await.expect("the call has chosen for itself");
    server.stop().await;
    other.stop().await;
}

/// Makes each kind of read, and returns how each was refused.
async fn read_in_every_way(client: &mut Client, tokens: &[String]) -> Vec<Status> {
    let batch = BatchGetProductsRequest { ids: vec!["a".to_owned()], read: None };
    let search = SearchProductsRequest { query: "a".to_owned(), ..Default::default() };
    vec![
        client.get_product(with(tokens, get("a"))).await.expect_err("get"),
        client.batch_get_products(with(tokens, batch)).await.expect_err("batch"),
        client.list_products(with(tokens, ListProductsRequest::default())).await.expect_err("list"),
        client.search_products(with(tokens, search)).await.expect_err("search"),
    ]
}

fn token(metadata: &MetadataMap) -> String {
    metadata.get(HEADER).expect("a token").to_str().expect("text").to_owned()
}

fn with<T>(tokens: &[String], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for token in tokens {
        request.metadata_mut().append(HEADER, token.parse().expect("a value"));
    }
    request
}

fn get(id: &str) -> GetProductRequest {
    GetProductRequest { id: id.to_owned(), read: None }
}

fn rename(name: &str) -> UpdateProductRequest {
    let update_mask = Some(FieldMask { paths: vec!["name".to_owned()] });
    UpdateProductRequest { product: Some(named("a", name)), update_mask, ..Default::default() }
}
