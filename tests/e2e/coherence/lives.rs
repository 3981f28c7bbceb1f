//! Another database in the place of the one that the server has copies of.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use larder_cache::Token;
use larder_proto::catalog::{GetProductResponse, ReadOptions, UpdateProductRequest, read_options::Consistency};
use larder_server::contract::{decode_token, encode_token};
use larder_test_servers::{Postgres, PostgresOptions};
use tokio::process::Command;
use tonic::{Code, Status};

use super::watch::{BOUND, Question, Row, Rows, Watch};
use crate::harness::{Database, Refusal, Server, eventually, named, refusal};

const QUESTIONS: [Question; 5] = [
    Question::Get("a"),
    Question::Get("late"),
    Question::Batch(&["late", "a"]),
    Question::All(10),
    Question::Search("second"),
];

#[tokio::test]
async fn a_sqlite_file_put_back_from_a_copy_is_what_is_served() {
    let database = Database::sqlite();
    let server = Server::start(&database).await;
    server.create(named("a", "First")).await;
    let kept = rows(&[("a", "First")]);
    let copy = database.file().with_extension("copy");
    database.shell(&format!(".backup '{}'", copy.display())).await;

    let lost = rows(&[("a", "Second"), ("late", "Second")]);
    let updated = server.update(named("a", "Second"), &["name"]).await;
    let token = server.create(named("late", "Second")).await.token;
    let etag = updated.product.expect("a product").etag;
    let watch = Watch { server: &server, questions: &QUESTIONS };
    watch.warm(&lost).await;
    read_with(&server, &token).await.expect("the token is good for now");

    fs::rename(&copy, database.file()).expect("the copy to be put back");
    let took = watch.until_shown("the copy put back", &lost, &kept, Instant::now()).await;
    println!("what was put back was served after {took:?}");
    refuses_what_was_lost(&server, &token, &etag).await;
    lives_on(&server, &watch).await;
    server.stop().await;
}

#[tokio::test]
async fn commits_that_a_crash_of_postgres_lost_are_not_served() {
    // Nothing writes to disk but commits that wait for it, and the process that is stopped below.
    let settings = [("bgwriter_lru_maxpages", "0"), ("checkpoint_timeout", "1h"), ("autovacuum", "off")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let postgres = Arc::new(Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let server = Server::start(&database).await;
    server.create(named("a", "First")).await;
    let token = server.create(named("gone", "Gone")).await.token;
    server.delete("gone").await;
    let kept = rows(&[("a", "First")]);
    let watch = Watch { server: &server, questions: &QUESTIONS };
    watch.warm(&kept).await;

    // What is not flushed by now stays in memory, and goes with it.
    let writer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let writer = database.shell(writer).await;
    let stopped = Command::new("sh").args(["-c", "kill -s STOP \"$0\"", &writer]).status().await;
    assert!(stopped.expect("a shell").success(), "the WAL writer to be stopped");
    let lost = rows(&[("a", "Second"), ("late", "Second")]);
    let typed = "SET synchronous_commit = off; UPDATE products SET name = 'Second' WHERE id = 'a'; \
                 INSERT INTO products (id, name) VALUES ('late', 'Second')";
    database.shell(typed).await;
    watch.until_shown("commits that are not on disk", &kept, &lost, Instant::now()).await;
    watch.warm(&lost).await;
    let etag = server.get("a").await.product.expect("a product").etag;
    let kept_token = server.get("a").await.product.map(|_| token).expect("a product");
    let typed = database.shell("SELECT xid::text || '/' || salt FROM changes WHERE key = 'late'").await;
    let (id, salt) = typed.split_once('/').expect("an id and a salt");
    let known = decode_token(&kept_token).expect("a token");
    let salt = salt.parse::<i64>().expect("a number").cast_unsigned();
    let token = encode_token(Token { id: id.parse().expect("a number"), salt, ..known });
    read_with(&server, &token).await.expect("the token is good for now");
    let server_process = Arc::clone(&postgres);
    tokio::task::spawn_blocking(move || server_process.kill()).await.expect("PostgreSQL to be killed");
    postgres.restart().await;
    let survived = postgres.psql(&database.url(), "SELECT name FROM products ORDER BY id").await;
    assert_eq!(survived, "First", "the crash was to lose what was not on disk");

    // The first pass of the new life.
    eventually("a look at the change log", async || {
        server
            .read(
                "a",
                Some(ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() }),
            )
            .await
            .is_ok()
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < BOUND + Duration::from_millis(200) {
        watch.read(&kept).await;
    }
    refuses_what_was_lost(&server, &token, &etag).await;
    read_with(&server, &kept_token).await.expect("the token of a commit that was not lost");
    lives_on(&server, &watch).await;
    server.stop().await;
}

/// Tokens and etags of the life before are refused as documented.
async fn refuses_what_was_lost(server: &Server, token: &str, etag: &str) {
    let status = read_with(server, token).await.expect_err("a token of another life");
    assert_eq!(refusal(&status), Refusal::token("TOKEN_LOST"));
    let mut product = named("a", "Third");
    etag.clone_into(&mut product.etag);
    let request = UpdateProductRequest { product: Some(product), ..Default::default() };
    let status = server.client().update_product(request).await.expect_err("an etag of another life");
    assert_eq!(refusal(&status), Refusal::of(Code::Aborted, "ETAG_MISMATCH"));
}

/// Reads `a` with a token, as soon as the server can ask the database what has changed.
async fn read_with(server: &Server, token: &str) -> Result<GetProductResponse, Status> {
    let mut read = Err(Status::unavailable("not asked"));
    eventually("an answer from the database", async || {
        read = server.read("a", Some(at_least(token))).await;
        read.as_ref().map_or_else(Status::code, |_| Code::Ok) != Code::Unavailable
    })
    .await;
    read
}

/// What is written now is read, and its token is good.
async fn lives_on(server: &Server, watch: &Watch<'_>) {
    let token = server.update(named("a", "Third"), &["name"]).await.token;
    let reply = read_with(server, &token).await.expect("a token of this life");
    assert_eq!(reply.product.expect("a product").name, "Third");
    server.settle().await;
    watch.read(&rows(&[("a", "Third")])).await;
}

fn at_least(token: &str) -> ReadOptions {
    ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token.to_owned())), ..Default::default() }
}

fn rows(names: &[(&str, &str)]) -> Rows {
    let row = |name: &str| Row { name: name.to_owned(), category: String::new(), tag: String::new() };
    names.iter().map(|&(id, name)| (id.to_owned(), row(name))).collect()
}
