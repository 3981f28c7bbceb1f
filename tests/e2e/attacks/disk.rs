//! A disk without room.

use std::sync::Arc;

use larder_proto::catalog::{
    CreateProductRequest, GetProductRequest, ListProductsRequest, Product, ReadOptions, read_options::Consistency,
};
use larder_test_servers::{Postgres, PostgresOptions, can_mount};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tonic::{Code, Status};

use crate::harness::{Client, Database, Process, Refusal, Server, eventually, product, refusal};

/// The size of the small disk in MiB: an empty database takes eight.
const SMALL_DISK: u32 = 48;
/// Products that are tried at most until the disk is full.
const MOST: usize = 2_000;

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

/// PostgreSQL's own disk, below the tables: its log of transactions is elsewhere, and ends the server where it finds no room.
#[tokio::test]
async fn a_full_disk_of_postgres_refuses_writes_and_nothing_else() {
    if !can_mount() {
        println!("not tried: only root may mount a small disk");
        return;
    }
    let postgres = PostgresOptions { small_disk: Some(SMALL_DISK), ..PostgresOptions::default() };
    let postgres = Arc::new(Postgres::start(postgres).await);
    let disk = postgres.small_disk();
    postgres.psql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.display())).await;
    let url = postgres.try_create_database("TABLESPACE small").await.expect("a database on the small disk");
    let database = Database::Postgres { server: Arc::clone(&postgres), url };
    let server = Server::start(&database).await;
    // PostgreSQL writes it, because nobody else sees the disk.
    let room = async |rows: u32| {
        let rows = format!("SELECT repeat('x', 1000) FROM generate_series(1, {rows})");
        postgres.psql("postgres", &format!("COPY ({rows}) TO '{}'", disk.join("ballast").display())).await;
    };
    room(8_000).await;

    let (mut acknowledged, noise) = (Vec::new(), noise());
    let status = loop {
        let id = format!("p{}", acknowledged.len());
        match create_large(server.client(), &id, &noise).await {
            Ok(()) => acknowledged.push(id),
            Err(status) => break status,
        }
        assert!(acknowledged.len() < MOST, "{MOST} products fit");
    };
    let full = Refusal::of(Code::ResourceExhausted, "DATABASE_FULL");
    assert_eq!(refusal(&status), full);
    for number in 0..20 {
        let refused = create_large(server.client(), &format!("none-{number}"), &noise).await.expect_err("no room");
        assert_eq!(refusal(&refused), full, "{number}");
    }
    for id in &acknowledged {
        fresh(server.client(), id).await.unwrap_or_else(|status| panic!("{id}, without room: {status}"));
    }
    room(0).await;
    eventually("writes", async || create_large(server.client(), "last", &noise).await.is_ok()).await;
    server.stop().await;

    let server = Server::start(&database).await;
    for id in acknowledged {
        server.get(&id).await;
    }
    assert_eq!(server.read("none-0", None).await.expect_err("a refused write").code(), Code::NotFound);
    server.stop().await;
}

/// A file system that became read-only, as after an error of its disk, and a server that is started again on it.
#[tokio::test]
async fn a_read_only_file_system_is_said_at_the_start_and_harms_nothing() {
    if !can_mount() {
        println!("not tried: only root may mount a directory read-only");
        return;
    }
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    process.client().create_product(create("a")).await.expect("a product");
    process.stop().await;
    let directory = database.file().parent().expect("a directory").to_owned();
    let ended = Process::run_on_read_only(&directory, &database).await;
    assert_eq!(ended.code, Some(69), "{}", ended.err);
    assert!(ended.err.contains("cannot open the database"), "{}", ended.err);
    let process = Process::start(&database).await;
    fresh(process.client(), "a").await.expect("the product");
    process.client().create_product(create("b")).await.expect("another one");
}

/// A text that cannot be compressed.
fn noise() -> String {
    let mut rng = SmallRng::seed_from_u64(1);
    (0..60_000).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect()
}

/// Creates a product that needs new pages.
async fn create_large(mut client: Client, id: &str, description: &str) -> Result<(), Status> {
    let product = Some(Product { description: description.to_owned(), ..product(id) });
    client.create_product(CreateProductRequest { product, ..Default::default() }).await.map(drop)
}

async fn fresh(mut client: Client, id: &str) -> Result<(), Status> {
    let read = Some(ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() });
    client.get_product(GetProductRequest { id: id.to_owned(), read }).await.map(drop)
}

fn create(id: &str) -> CreateProductRequest {
    CreateProductRequest { product: Some(product(id)), ..Default::default() }
}
