//! A server that is out of file descriptors.

use larder_proto::admin::{GetStatsRequest, cache_admin_client::CacheAdminClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Client, Database, Process, connect, product};

/// Below what the default of `max-connections` needs, and above what the server keeps for itself.
const LIMIT: &str = "-n 600";
/// More than the server accepts under this limit.
const FLOOD: usize = 400;

#[tokio::test]
async fn admin_and_probes_are_reached_whatever_the_catalogue_has() {
    let database = Database::sqlite();
    let process = Process::start_under(LIMIT, &database, &[]).await;
    let log = process.log();
    assert!(log.contains("too low for max-connections"), "{log}");
    let polite = connect(process.address()).await;
    let create = larder_proto::catalog::CreateProductRequest { product: Some(product("a")), ..Default::default() };
    Client::new(polite).create_product(create).await.expect("a product");

    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let mut socket = TcpStream::connect(process.address()).await.expect("a connection");
        // Half a greeting.
        let _ = socket.write_all(b"PRI * HT").await;
        flood.push(socket);
    }
    let mut admin = CacheAdminClient::new(connect(process.admin_address()).await);
    admin.get_stats(GetStatsRequest::default()).await.expect("statistics");
    let mut probe = TcpStream::connect(process.http_address()).await.expect("a connection");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("a request");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let get = larder_proto::catalog::GetProductRequest { id: "a".to_owned(), read: None };
    Client::new(connect(process.address()).await).get_product(get).await.expect("a place for a client that calls");
    drop(flood);

    // However often accepting fails, few lines say so.
    let failures = process.log().matches("connection not accepted").count();
    assert!(failures <= 3, "{failures} lines");
}
