//! The calls in docs/grpcurl.md give what the page shows.

use std::{collections::HashSet, path::Path};

use larder_test_servers::TempDir;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Database, Process, grpcurl};

/// Where the page's server listens.
const ADDRESS: &str = "127.0.0.1:50051";
/// Values that differ from one server to the next.
const VOLATILE: [&str; 7] = ["createTime", "updateTime", "etag", "token", "nextPageToken", "age", "ttl"];

#[tokio::test]
async fn the_calls_of_the_page_give_what_it_shows() {
    let Some(grpcurl) = grpcurl() else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grpcurl.md");
    let examples = examples(&std::fs::read_to_string(page).expect("the page"));
    assert!(examples.len() >= 5, "five calls with their output, not {}", examples.len());

    let database = Database::sqlite();
    let process = Process::start_with(&database, &["--sample-catalogue=true"]).await;
    let directory = TempDir::new("calls");
    // The page's own name of the program, whatever its path is.
    std::os::unix::fs::symlink(&grpcurl, directory.join("grpcurl")).expect("a link");
    let path = std::env::join_paths(
        [directory.path().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .expect("a path");
    for (call, shown) in examples {
        assert!(call.contains(ADDRESS), "{call}");
        let call = call.replace(ADDRESS, &process.address().to_string());
        let output = Command::new("sh").args(["-c", &call]).env("PATH", &path).output().await.expect("a shell");
        let given = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{call}\n{}", String::from_utf8_lossy(&output.stderr));
        let same = match (serde_json::from_str::<Value>(&given), serde_json::from_str::<Value>(&shown)) {
            (Ok(given), Ok(shown)) => alike("", &given, &shown),
            _ => given.trim() == shown.trim(),
        };
        assert!(same, "{call}\ngives\n{given}\nand the page shows\n{shown}");
    }
    assert_eq!(process.stop().await.code(), Some(0));
}

/// Each code block that begins with a call of grpcurl, and the code block behind it.
fn examples(page: &str) -> Vec<(String, String)> {
    let blocks: Vec<String> = page
        .split("\n```")
        .skip(1)
        .step_by(2)
        // Behind the language.
        .filter_map(|block| Some(block.split_once('\n')?.1.to_owned()))
        .collect();
    let pairs = blocks.windows(2).filter(|pair| pair[0].starts_with("grpcurl -plaintext"));
    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Whether two values are the same but for what is volatile, and but for texts that the page cuts off with an ellipsis.
fn alike(key: &str, given: &Value, shown: &Value) -> bool {
    match (given, shown) {
        (Value::Object(given), Value::Object(shown)) => {
            let keys: HashSet<_> = given.keys().chain(shown.keys()).collect();
            keys.into_iter().all(|key| match (given.get(key), shown.get(key)) {
                (Some(given), Some(shown)) => alike(key, given, shown),
                _ => false,
            })
        }
        (Value::Array(given), Value::Array(shown)) => {
            given.len() == shown.len() && given.iter().zip(shown).all(|(given, shown)| alike(key, given, shown))
        }
        (Value::String(_), Value::String(_)) if VOLATILE.contains(&key) => true,
        (Value::String(given), Value::String(shown)) => match shown.strip_suffix('…') {
            Some(beginning) => given.starts_with(beginning),
            None => given == shown,
        },
        (given, shown) => given == shown,
    }
}

#[test]
fn examples_are_found() {
    let page =
        "# T\n\n```sh\nmake run\n```\n\n```sh\ngrpcurl -plaintext x list\n```\n\n```json\n{}\n```\n\n```sh\nls\n```\n";
    assert_eq!(examples(page), [("grpcurl -plaintext x list".to_owned(), "{}".to_owned())]);
    assert!(alike("", &serde_json::json!({"etag": "1", "a": "long"}), &serde_json::json!({"etag": "2", "a": "lo…"})));
    assert!(!alike("", &serde_json::json!({"a": 1}), &serde_json::json!({})));
}
