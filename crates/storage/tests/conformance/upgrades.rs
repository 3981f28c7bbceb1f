//! Databases of earlier releases.

use std::borrow::Cow;

use larder_storage::{ProductRepository, Repository, SearchQuery, StorageConfig, words};
use larder_test_servers::{Postgres, TempDir};
use sqlx::{
    ConnectOptions, Connection, PgConnection, SqlSafeStr,
    migrate::{Migrate, Migration, MigrationType, Migrator},
    sqlite::SqliteConnectOptions,
};

use crate::bench::{Bench, Shell};

const ROWS: &str = "INSERT INTO products (id, name) VALUES ('a', 'Crème brûlée'), ('b', '電気ケトル'), ('c', 'Plain pan'); \
    UPDATE products SET description = 'हिन्दी' WHERE id = 'c'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_database_of_before_is_searched_anew() {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let catalogue = include_str!("../../migrations/postgres/0001_catalogue.sql");
    migrate(&mut connection, catalogue, "public.larder_migrations").await;
    connection.close().await.unwrap();
    server.psql(&url, ROWS).await;
    rows_of_before_are_found(Shell::Postgres(server, url.clone()), url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_of_before_is_searched_anew() {
    let directory = TempDir::new("storage");
    let path = directory.join("larder.db");
    let mut connection = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
    migrate(&mut connection, include_str!("../../migrations/sqlite/0001_catalogue.sql"), "larder_migrations").await;
    connection.close().await.unwrap();
    let url = format!("sqlite:{}", path.display());
    let shell = Shell::Sqlite(directory, path);
    shell.run(ROWS).await.unwrap();
    rows_of_before_are_found(shell, url).await;
}

/// Brings a database to where the first release left it.
async fn migrate<C: Migrate>(connection: &mut C, catalogue: &'static str, table: &'static str) {
    let first = Migration::new(1, Cow::Borrowed("catalogue"), MigrationType::Simple, catalogue.into_sql_str(), false);
    let migrator = Migrator { migrations: vec![first].into(), table_name: Cow::Borrowed(table), ..Migrator::DEFAULT };
    migrator.run_direct(None, connection, false).await.unwrap();
}

async fn rows_of_before_are_found(shell: Shell, url: String) {
    // SQLite logs one change of everything for the new triggers: what another schema logged may not be complete.
    let facts = "SELECT id, version FROM products ORDER BY id; SELECT count(*) FROM changes WHERE kind <> 'all'";
    let before = shell.run(facts).await.unwrap();
    let bench = Bench::over(shell, url).await;
    assert_eq!(bench.sql(facts).await, before, "no product has changed");
    for (query, expected) in [("creme", "a"), ("BRU", "a"), ("ケト", "b"), ("हिन", "c"), ("pan", "c")] {
        let query =
            SearchQuery { words: words(query), filter: larder_storage::Filter::default(), after: None, limit: 10 };
        assert_eq!(bench.repository.search(&query).await.unwrap().value.ids, [expected], "{query:?}");
    }
    let again = Repository::connect(&StorageConfig::new(bench.config.url.clone())).await.unwrap();
    again.close().await;
}
