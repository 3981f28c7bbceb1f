//! PostgreSQL through a Unix socket, by the URLs that libpq takes.

use std::{fs, os::unix::fs::PermissionsExt as _};

use larder_storage::{ProductRepository as _, Repository, StorageConfig, WriteOptions};
use larder_test_servers::{Postgres, PostgresOptions, TempDir};

use crate::basics::full;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_may_name_the_folder_of_a_socket() {
    let folder = TempDir::new("socket");
    // The server may run as somebody else.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let folder = folder.path().display().to_string();
    // No TCP: what connects does so through the socket.
    let settings = [("unix_socket_directories", folder.as_str()), ("listen_addresses", "")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    let (user, port) = ("postgres", server.port());
    let escaped = folder.replace('/', "%2F");
    for (number, url) in [
        format!("postgres://{user}@/postgres?host={folder}&port={port}"),
        format!("postgres://{user}:secret@:{port}/postgres?host={escaped}"),
        format!("postgresql:///postgres?host={folder}&port={port}&user={user}"),
        format!("postgres://:{port}/postgres?host={folder}&user={user}"),
        format!("postgres://{user}@{escaped}:{port}/postgres"),
    ]
    .into_iter()
    .enumerate()
    {
        Repository::check_url(&url).unwrap();
        let repository =
            Repository::connect(&StorageConfig::new(&url)).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let id = format!("p{number}");
        repository.create(&id, &full(), &WriteOptions::default()).await.unwrap();
        assert_eq!(repository.get(&[id]).await.unwrap().value.found.len(), 1, "{url}");
        repository.close().await;
    }
}
