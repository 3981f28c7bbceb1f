//! A hundred thousand products, imported by the program into the program, in bounded memory.

use std::{fs, time::Instant};

use larder_cli::generate::generate;
use larder_proto::catalog::ListProductsRequest;
use larder_test_servers::TempDir;

use crate::harness::{Database, Process, user_fields};

const COUNT: u64 = 100_000;
const SEED: u64 = 7;
/// What the server may take at most, in MiB: copies, pages of the database and code, in a build that is not optimised.
const MOST_MEMORY: u64 = 400;

#[tokio::test]
async fn a_hundred_thousand_products_are_imported_in_bounded_memory() {
    // The database is in the same process: all of the memory counts.
    let database = &Database::sqlite();
    let directory = TempDir::new("import");
    let file = directory.join("products.jsonl");
    let count = COUNT.to_string();
    let mut generate_them = Process::command().await;
    generate_them.args(["generate", "--count", &count, "--seed", &SEED.to_string(), "--output"]).arg(&file);
    assert!(generate_them.status().await.expect("larder to start").success(), "larder generate");

    let larder = Process::start(database).await;
    let begin = Instant::now();
    let mut import = Process::command().await;
    import.arg("import").arg(&file).args(["--json", "--address", &format!("http://{}", larder.address())]);
    let output = import.stdout(std::process::Stdio::piped()).output().await.expect("larder to start");
    let took = begin.elapsed();
    assert!(output.status.success(), "larder import: {}", String::from_utf8_lossy(&output.stderr));
    let counts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the counts as JSON");
    assert_eq!(counts["created"], COUNT, "{counts}");
    assert_eq!(counts["rejected"], 0, "{counts}");
    let memory = peak_memory(larder.pid());

    // What the server says, product by product, is compared for the first of them; nothing less than all of them is there.
    let mut expected: Vec<_> = generate(SEED, COUNT).collect();
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    let stored = database.shell("SELECT id FROM products ORDER BY id").await;
    assert!(stored.lines().eq(expected.iter().map(|product| product.id.as_str())), "a product was lost");
    let request = ListProductsRequest { page_size: 1_000, include_total_size: true, ..Default::default() };
    let page = larder.client().list_products(request).await.expect("a page").into_inner();
    assert_eq!(page.total_size, i64::try_from(COUNT).ok());
    assert!(page.products.into_iter().map(user_fields).eq(expected.into_iter().take(1_000)), "a product was altered");

    match memory {
        Some(memory) => {
            println!("imported in {took:?}; the server took at most {memory} MiB");
            assert!(memory <= MOST_MEMORY, "the import took {memory} MiB");
        }
        None => println!("imported in {took:?}; this system does not tell how much memory that took"),
    }
    larder.stop().await;
}

/// The most memory that a process has taken, in MiB, where the system tells.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes / 1_024)
}
