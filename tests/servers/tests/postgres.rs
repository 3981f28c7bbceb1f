//! The helper itself: a server is there, survives kill and restart with its data, and ends with its process.

use std::sync::Arc;

use larder_test_servers::{Postgres, PostgresOptions};

#[tokio::test]
async fn a_server_keeps_its_data_through_kill_and_restart() {
    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    server.psql(&url, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await;
    server.kill();
    assert!(server.try_psql(&url, "SELECT 1").await.is_err(), "a killed server answered");
    server.restart().await;
    assert_eq!(server.psql(&url, "SELECT n FROM t").await, "1");
    server.stop();
    server.restart().await;
    assert_eq!(server.psql(&url, "SELECT n FROM t").await, "1");
}

#[tokio::test]
async fn databases_are_distinct() {
    let server = Postgres::shared().await;
    let (one, two) = (server.create_database().await, server.create_database().await);
    assert_ne!(one, two);
    let error = server.try_psql(&one, "SELECT * FROM nowhere").await.unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_base_backup_put_in_place_knows_nothing_of_what_came_after_it() {
    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    server.psql(&url, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await;
    let copy = server.base_backup().await;
    server.psql(&url, "INSERT INTO t VALUES (2)").await;
    server.restore(copy).await;
    assert_eq!(server.psql(&url, "SELECT n FROM t").await, "1");
}
