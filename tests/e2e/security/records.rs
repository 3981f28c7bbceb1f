//! Audit records in a file of their own.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;

use super::{
    Secured, TOKENS,
    caller::{Caller, Outcome},
};
use crate::harness::eventually;

const GET: &str = "larder.catalog.v1.ProductCatalog/GetProduct";
const STATS: &str = "larder.admin.v1.CacheAdmin/GetStats";
const FILE: &str = "audit.jsonl";

async fn start() -> Secured {
    Secured::start_with_files(|config, files, _| config.security.audit = Some(files.path(FILE))).await
}

/// The records of a file. A line that is no object fails the test.
fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// Waits until a file has a record in which these fields have these values.
async fn recorded(path: &Path, fields: &[(&str, &str)]) -> Value {
    let found = || records(path).into_iter().find(|record| fields.iter().all(|(name, value)| record[name] == *value));
    eventually("the record", async || found().is_some()).await;
    found().expect("a record stays")
}

#[tokio::test]
async fn calls_are_recorded_in_the_file_and_only_its_owner_reads_it() {
    let secured = start().await;
    let path = secured.files.path(FILE);
    let admin = secured.anonymous().with(TOKENS[2].0);
    assert_eq!(admin.outcome(STATS).await, Outcome::Admitted);
    assert_eq!(secured.anonymous().with("guess").outcome(GET).await, Outcome::Unauthenticated);
    assert_eq!(secured.anonymous().with(TOKENS[0].0).outcome(STATS).await, Outcome::Denied);
    let admitted = [("message", "admin call"), ("caller", "the admin"), ("by", "token")];
    let record = recorded(&path, &admitted).await;
    assert!(record["method"].as_str().expect("a method").ends_with("GetStats"), "{record}");
    for field in ["timestamp", "peer", "request_id"] {
        assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {record}");
    }
    let unknown = [("message", "call refused"), ("outcome", "unauthenticated"), ("why", "unknown token")];
    recorded(&path, &unknown).await;
    recorded(&path, &[("outcome", "permission_denied"), ("caller", "the reader")]).await;
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    secured.server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_rotated_is_made_again() {
    let secured = start().await;
    let (path, rotated) = (secured.files.path(FILE), secured.files.path("audit.jsonl.1"));
    let admin = secured.anonymous().with(TOKENS[2].0);
    let called = async |admin: &Caller| assert_eq!(admin.outcome(STATS).await, Outcome::Admitted);
    called(&admin).await;
    recorded(&path, &[("message", "admin call")]).await;
    std::fs::rename(&path, &rotated).expect("a rotation");
    let before = records(&rotated).len();
    called(&admin).await;
    recorded(&path, &[("message", "admin call")]).await;
    assert_eq!(records(&rotated).len(), before, "no record goes into the old file");
    // By SIGHUP the file is there before the next record, as programs that read it expect.
    std::fs::rename(&path, &rotated).expect("a rotation");
    secured.server.running().reload(None);
    eventually("the new file", async || path.exists()).await;
    secured.server.stop().await;
}

#[tokio::test]
async fn every_record_is_written_before_the_server_ends() {
    let secured = start().await;
    let path = secured.files.path(FILE);
    let admin = secured.anonymous().with(TOKENS[2].0);
    for _ in 0..20 {
        assert_eq!(admin.outcome(STATS).await, Outcome::Admitted);
    }
    let Secured { server, files, .. } = secured;
    server.stop().await;
    let made = records(&path).iter().filter(|record| record["message"] == "admin call").count();
    assert_eq!(made, 20);
    drop(files);
}
