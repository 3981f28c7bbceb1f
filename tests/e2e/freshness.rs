//! Read your writes, on any replica.

use std::time::Duration;

use larder_cache::Token;
use larder_proto::catalog::{
    BatchGetProductsRequest, ListProductsRequest, Product, ProductFilter, ReadOptions, SearchProductsRequest,
    read_options::Consistency,
};
use larder_server::contract::{decode_token, encode_token};
use tokio::time::sleep;

use crate::harness::{Database, Refusal, Server, named, on_both_databases, product, refusal};

on_both_databases!(
    a_token_shows_the_write_on_another_replica,
    full_consistency_shows_every_acknowledged_write,
    tokens_of_deletions_and_imports_count_as_well,
    a_write_is_seen_elsewhere_within_the_bound,
    a_token_that_says_nothing_here_is_refused,
);

const ROUNDS: usize = 300;
const BOUND: Duration = Duration::from_secs(1);

async fn a_token_shows_the_write_on_another_replica(database: &Database) {
    let replicas = Replicas::start(database).await;
    for round in 1..=ROUNDS {
        let token = replicas.write(round).await;
        replicas.check(round, &at_least(&token)).await;
    }
    replicas.stop().await;
}

async fn full_consistency_shows_every_acknowledged_write(database: &Database) {
    let replicas = Replicas::start(database).await;
    let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() };
    for round in 1..=ROUNDS {
        replicas.write(round).await;
        replicas.check(round, &read).await;
    }
    replicas.stop().await;
}

async fn tokens_of_deletions_and_imports_count_as_well(database: &Database) {
    let replicas = Replicas::start(database).await;
    for round in 0..30 {
        let token = replicas.writer.import([named("imported", &format!("Round {round}"))]).await.token;
        let got = replicas.reader.read("imported", Some(at_least(&token))).await.expect("the product");
        assert_eq!(got.product.expect("a product").name, format!("Round {round}"));
        let token = replicas.writer.delete("imported").await;
        let status = replicas.reader.read("imported", Some(at_least(&token))).await.expect_err("it is gone");
        assert_eq!(status.code(), tonic::Code::NotFound);
        let token = replicas.writer.create(named("imported", "Created")).await.token;
        replicas.reader.read("imported", Some(at_least(&token))).await.expect("it is there again");
    }
    replicas.stop().await;
}

async fn a_write_is_seen_elsewhere_within_the_bound(database: &Database) {
    let replicas = Replicas::start(database).await;
    for round in 1..=3 {
        replicas.check(round - 1, &ReadOptions::default()).await;
        replicas.write(round).await;
        sleep(BOUND).await;
        replicas.check(round, &ReadOptions::default()).await;
    }
    replicas.stop().await;
}

async fn a_token_that_says_nothing_here_is_refused(database: &Database) {
    let another = Database::sqlite();
    let (server, other) = (Server::start(database).await, Server::start(&another).await);
    let token = server.create(product("a")).await.token;
    let foreign = other.create(product("a")).await.token;
    let read = server.read("a", Some(at_least(&foreign))).await;
    let status = read.expect_err("another database's");
    assert_eq!(refusal(&status), Refusal::token("TOKEN_LOST"));
    assert!(status.message().contains("lost or replaced"), "{}", status.message());

    let known = decode_token(&token).expect("a token");
    // Other databases of the same server take ids too, but not that many.
    let future = encode_token(Token { id: known.id + (1 << 40), ..known });
    let status = server.read("a", Some(at_least(&future))).await.expect_err("a commit that never was");
    assert_eq!(refusal(&status), Refusal::token("TOKEN_UNKNOWN"));
    assert!(status.message().contains("does not have"), "{}", status.message());
    server.read("a", Some(at_least(&token))).await.expect("its own");
    server.stop().await;
    other.stop().await;
}

/// Two servers over one database. What is read from the second is what was written to the first.
struct Replicas {
    writer: Server,
    reader: Server,
}

impl Replicas {
    async fn start(database: &Database) -> Self {
        let writer = Server::start(database).await;
        writer.create(Self::state(0)).await;
        let replicas = Self { writer, reader: Server::start(database).await };
        replicas.check(0, &ReadOptions::default()).await;
        replicas
    }

    async fn stop(self) {
        self.writer.stop().await;
        self.reader.stop().await;
    }

    /// The product after a number of writes: each gives it another name and moves it between two categories.
    fn state(round: usize) -> Product {
        let category = Self::category(round).to_owned();
        Product { categories: vec![category], ..named("a", &format!("Round {round} r{round}x")) }
    }

    fn category(round: usize) -> &'static str {
        if round.is_multiple_of(2) { "even" } else { "odd" }
    }

    async fn write(&self, round: usize) -> String {
        self.writer.update(Self::state(round), &["name", "categories"]).await.token
    }

    /// Reads the product in every way.
    async fn check(&self, round: usize, read: &ReadOptions) {
        let (mut client, read) = (self.reader.client(), Some(read.clone()));
        let expected = Self::state(round).name;
        let got = self.reader.read("a", read.clone()).await.expect("the product").product.expect("a product");
        assert_eq!(got.name, expected, "get in round {round}");

        let request = BatchGetProductsRequest { ids: vec!["a".to_owned(), "none".to_owned()], read: read.clone() };
        let batch = client.batch_get_products(request).await.expect("a batch").into_inner();
        assert_eq!(batch.products.iter().map(|p| &p.name).collect::<Vec<_>>(), [&expected], "batch in round {round}");

        let list = |category: &str| ListProductsRequest {
            filter: Some(ProductFilter { category: category.to_owned(), ..Default::default() }),
            read: read.clone(),
            ..Default::default()
        };
        let page = client.list_products(list(Self::category(round))).await.expect("a page").into_inner();
        assert_eq!(page.products.iter().map(|p| &p.name).collect::<Vec<_>>(), [&expected], "list in round {round}");
        let page = client.list_products(list(Self::category(round + 1))).await.expect("a page").into_inner();
        assert_eq!(page.products, [], "the list that it left in round {round}");

        let search = |round: usize| SearchProductsRequest {
            query: format!("r{round}x"),
            read: read.clone(),
            ..Default::default()
        };
        let page = client.search_products(search(round)).await.expect("a page").into_inner();
        assert_eq!(page.products.iter().map(|p| &p.name).collect::<Vec<_>>(), [&expected], "search in round {round}");
        let page = client.search_products(search(round + 1)).await.expect("a page").into_inner();
        assert_eq!(page.products, [], "the search of the next round in round {round}");
    }
}

fn at_least(token: &str) -> ReadOptions {
    ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token.to_owned())), ..Default::default() }
}
