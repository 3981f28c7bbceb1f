//! Commands as a user gives them, against real databases and servers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::{CommandFactory as _, Parser as _};
use larder_cache::Clock;
use larder_proto::{catalog::Product, google_type::Money};
use larder_storage::{Filter, ProductRepository as _, Repository, StorageConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, copy},
    net::{TcpListener, TcpStream},
};

use super::{Cli, CliError, error::Failure, run};
use crate::generate::generate;
use larder_server::{
    app::Running,
    config::{Purpose, Sources, resolve},
    contract::to_message,
    json::{from_json, to_json},
};

/// A directory with a database that commands open by themselves.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self, database: &str) -> String {
        format!("sqlite://{}", self.path(database).display())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs an import or export that opens `database`.
    fn direct(&self, command: &str, database: &str, more: &[&str]) -> Result<(), Failure> {
        larder(&[&[command, "--direct", "--database-url", &self.url(database)], more].concat())
    }
}

/// Runs a command.
fn larder(arguments: &[&str]) -> Result<(), Failure> {
    let cli = Cli::try_parse_from([&["larder"], arguments].concat()).unwrap();
    match run(cli.command) {
        Ok(()) | Err(CliError::BrokenPipe) => Ok(()),
        Err(CliError::Failed(failure)) => Err(failure),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn jsonl(products: &[Product]) -> String {
    products.iter().map(|product| to_json(product).unwrap() + "\n").collect()
}

/// Products with everything that a text format may get wrong.
fn awkward() -> Vec<Product> {
    let mut products: Vec<Product> = generate(3, 700).collect();
    for (number, product) in products.iter_mut().enumerate() {
        product.id = format!("p-{number:05}");
    }
    products[0].name = "a, \"b\"\r\n'c' 茶 🍵 \u{1F1EA}\u{1F1FA} |\\|".into();
    products[0].attributes = [("co,l\"our\n".into(), "re\\d, \"x\"\n".into()), ("empty".into(), String::new())].into();
    products[0].categories = vec!["a|b".into(), "c\\".into(), "d,e".into(), " f ".into()];
    products[1].description = " leading and trailing \n".into();
    products[1].price = None;
    products[2].price = Some(Money { currency_code: "JPY".into(), units: i64::MAX, nanos: 0 });
    products[3].price = Some(Money { currency_code: "BHD".into(), units: 0, nanos: 1 });
    products[3].tags = Vec::new();
    products[4] = Product { id: "p-00004".into(), name: "bare".into(), ..Product::default() };
    products
}

fn without_times(mut product: Product) -> Product {
    product.create_time = None;
    product.update_time = None;
    product.etag = String::new();
    product
}

async fn stored(url: &str) -> Vec<Product> {
    let repository = Repository::connect(&StorageConfig::new(url)).await.unwrap();
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repository.scan(&Filter::default(), after.as_deref(), 500).await.unwrap();
        let Some(last) = page.last_id() else { break };
        after = Some(last.to_owned());
        all.extend(page.found.into_iter().map(to_message).map(without_times));
    }
    repository.close().await;
    all
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_exported_is_imported_exactly() {
    let place = Place::new();
    let products = awkward();
    let file = place.write("in.jsonl", jsonl(&products));
    place.direct("import", "a.db", &[text(&file)]).unwrap();
    assert_eq!(block_on(stored(&place.url("a.db"))), products);

    for (name, database) in [("out.csv", "b.db"), ("out.jsonl", "c.db")] {
        let out = place.path(name);
        place.direct("export", "a.db", &["--output", text(&out)]).unwrap();
        place.direct("import", database, &[text(&out)]).unwrap();
        assert_eq!(block_on(stored(&place.url(database))), products, "{name}");
        // And once more, through what was imported.
        let again = place.path(&format!("again-{name}"));
        place.direct("export", database, &["--output", text(&again)]).unwrap();
        if name == "out.csv" {
            assert_eq!(place.read(name), place.read(&format!("again-{name}")));
        }
    }
}

#[test]
fn no_line_of_a_bad_file_is_lost() {
    let place = Place::new();
    let mut lines = Vec::new();
    for number in 0..1_200 {
        lines.extend_from_slice(format!("{{\"id\":\"p{number}\",\"name\":\"P\"}}\n").as_bytes());
        match number % 300 {
            0 => lines.extend_from_slice(b"nonsense\n"),
            1 => lines.extend_from_slice(b"{\"id\":\"a b\",\"name\":\"P\"}\n"),
            2 => lines.extend_from_slice(b"{\"id\":\"x\",\"name\":\"\xff\"}\n"),
            3 => lines.extend_from_slice(b"{\"id\":\"p1\",\"name\":\"again\"}\n"),
            _ => {}
        }
    }
    let file = place.write("in.jsonl", &lines);
    let rejects = place.path("rejects.jsonl");
    let failure = place.direct("import", "a.db", &[text(&file), "--rejects", text(&rejects)]).unwrap_err();
    assert_eq!(failure.exit as u8, 65, "{failure}");
    assert!(failure.message.starts_with("12 lines were rejected"), "{failure}");
    let rejected: Vec<serde_json::Value> =
        place.read("rejects.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejected.len(), 12);
    assert_eq!((&rejected[0]["line"], &rejected[0]["raw"]), (&2.into(), &"nonsense".into()));
    assert_eq!((&rejected[1]["id"], &rejected[1]["line"]), (&"a b".into(), &4.into()));
    assert!(rejected[1]["reason"].as_str().unwrap().starts_with("id: must be"), "{}", rejected[1]);
    assert!(rejected[2]["raw_base64"].is_string());
    let numbers: Vec<u64> = rejected.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");

    let stored = block_on(stored(&place.url("a.db")));
    assert_eq!(stored.len(), 1_200);
    assert_eq!(stored.iter().find(|product| product.id == "p1").unwrap().name, "again", "the last one wins");
}

#[test]
fn an_import_goes_on_from_a_line() {
    let place = Place::new();
    let products = awkward();
    let file = place.path("in.csv");
    let mut rows = super::csv::header();
    rows.extend(products.iter().map(super::csv::row));
    std::fs::write(&file, &rows).unwrap();
    // The first product's row has two lines, since there is a line break in it.
    let skip = rows.lines().position(|line| line.starts_with("p-00010")).unwrap() + 1;
    place.direct("import", "a.db", &[text(&file), "--from-line", &skip.to_string()]).unwrap();
    assert_eq!(block_on(stored(&place.url("a.db"))), products[10..]);
}

#[test]
fn a_file_that_is_not_there_or_not_understood_is_said() {
    let place = Place::new();
    let exit = |arguments: &[&str]| place.direct("import", "a.db", arguments).unwrap_err().exit as u8;
    assert_eq!(exit(&[text(&place.path("none.csv"))]), 66);
    assert_eq!(exit(&[text(place.dir.path()), "--format", "csv"]), 66);
    assert_eq!(exit(&[text(&place.write("what.bin", ""))]), 64);
    assert_eq!(exit(&[text(&place.write("bad.csv", "id,name,colour\n"))]), 65);
    assert_eq!(larder(&["get", "a", "--address", "http://127.0.0.1:1"]).unwrap_err().exit as u8, 69);
    assert_eq!(larder(&["get", "a", "--address", "ftp://h"]).unwrap_err().exit as u8, 78);
    assert_eq!(larder(&["config", "--listen", "nowhere"]).unwrap_err().exit as u8, 78);
}

/// Passes connections on to a server, and cuts each of the first ones after so many bytes of its client.
async fn cutting_proxy(server: SocketAddr, cuts: &'static [u64]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let (from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let mut from_client = from_client.take(cuts.get(number).copied().unwrap_or(u64::MAX));
                // The end of either direction is the end of the connection.
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_server) => {}
                    _ = copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    (address, connections)
}

#[test]
fn an_import_outlives_its_connections() {
    const COUNT: u64 = 3_000;
    // Enough for no batch, and for some; all of them together are not enough for the whole file.
    const CUTS: [u64; 4] = [40 << 10, 500 << 10, 20 << 10, 400 << 10];
    let place = Place::new();
    let url = place.url("server.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let flags = vec![
        ("database-url", url.clone()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("admin-listen", "127.0.0.1:0".to_owned()),
        ("http-listen", "127.0.0.1:0".to_owned()),
        ("workers", "1".to_owned()),
        ("config", place.write("none.toml", "").display().to_string()),
    ];
    let sources = Sources { flags, ..Sources::default() };
    let config = resolve(&sources, Purpose::Serve).unwrap().config;
    let (running, proxy, connections) = runtime.block_on(async {
        let running = Running::start(config, Clock::system()).await.unwrap();
        let (proxy, connections) = cutting_proxy(running.address(), &CUTS).await;
        (running, proxy, connections)
    });

    let products: Vec<Product> = generate(11, COUNT).collect();
    let mut lines = jsonl(&products);
    // More than the import holds in memory at once.
    lines.push_str(&"nonsense\n".repeat(5_000));
    lines.push_str("{\"id\":\"no-name\"}\n");
    assert!(CUTS.iter().sum::<u64>() < lines.len() as u64, "the connections carry the whole file before they are cut");
    let file = place.write("in.jsonl", lines);
    let address = format!("http://{proxy}");
    let failure = larder(&["import", text(&file), "--address", &address]).unwrap_err();
    assert_eq!(failure.exit as u8, 65, "{failure}");
    assert!(failure.message.starts_with("5001 lines were rejected"), "{failure}");
    assert!(connections.load(Ordering::Relaxed) > CUTS.len(), "a connection was not cut");

    // What the server has comes back over gRPC too.
    let out = place.path("out.jsonl");
    larder(&["export", "--output", text(&out), "--address", &format!("http://{}", running.address())]).unwrap();
    let mut expected = products;
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    let exported: Vec<Product> =
        place.read("out.jsonl").lines().map(|line| without_times(from_json(line).unwrap())).collect();
    assert_eq!(exported.len(), expected.len());
    assert!(exported == expected.into_iter().map(without_times).collect::<Vec<_>>());

    let server = format!("http://{}", running.address());
    let call = |arguments: &[&str]| larder(&[arguments, &["--address", &server]].concat());
    call(&["health"]).unwrap();
    call(&["list", "--all", "--page-size", "200", "--order-by", "price desc", "--total", "--currency", "EUR"]).unwrap();
    call(&["get", &exported[0].id, &exported[1].id, "--consistent", "--verbose"]).unwrap();
    assert_eq!(call(&["get", "missing"]).unwrap_err().exit as u8, 66);
    assert_eq!(call(&["get", "missing", &exported[0].id]).unwrap_err().exit as u8, 66);
    assert_eq!(call(&["health", "--service", "nothing"]).unwrap_err().exit as u8, 69);
    let refused = call(&["list", "--page-size", "-1", "--order-by", "colour"]).unwrap_err();
    assert_eq!((refused.exit as u8, refused.details.len()), (64, 2), "{refused}");
    runtime.block_on(running.stop());
}
