//! The log of the program.

use std::fs;

use futures_util::future::join_all;
use larder_proto::{
    admin::{GetStatsRequest, cache_admin_client::CacheAdminClient},
    catalog::GetProductRequest,
};
use larder_test_servers::TempDir;
use serde_json::Value;
use tonic::Request;

use crate::harness::{Database, PATIENT, Process, TableLock, connect, eventually};

/// The lines of a process with a message.
fn lines(process: &Process, message: &str) -> Vec<Value> {
    let log = process.log();
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn sighup_changes_which_events_are_logged() {
    const MESSAGE: &str = "invalidation asked for";
    let (database, directory) = (Database::sqlite(), TempDir::new("log"));
    let file = directory.join("larder.toml");
    let write = |filter: &str| fs::write(&file, format!("log = \"{filter}\"\n")).expect("the file to be written");
    write("error");
    let process = Process::start_with(&database, &["--config", file.to_str().expect("a path")]).await;
    let invalidate = async || {
        let ran = process.larder(&["invalidate", "keys", "a"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        lines(&process, MESSAGE).len()
    };
    assert_eq!(invalidate().await, 0);

    write("info");
    process.signal("HUP").await;
    eventually("a line at info", async || invalidate().await > 0).await;

    write("error");
    process.signal("HUP").await;
    eventually("no further line at info", async || {
        let before = invalidate().await;
        invalidate().await == before
    })
    .await;
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn slow_calls_are_logged_a_few_at_a_time() {
    const CALLS: usize = 60;
    let database = Database::postgres().await;
    let flags = [&PATIENT[..], &["--slow-call", "1ms"]].concat();
    let process = Process::start_with(&database, &flags).await;
    let mut admin = CacheAdminClient::new(connect(process.admin_address()).await);
    let lock = TableLock::take(&database).await;
    let calls = (0..CALLS).map(|number| {
        let mut client = process.client();
        let mut request = Request::new(GetProductRequest { id: "none".to_owned(), ..GetProductRequest::default() });
        request.metadata_mut().insert("x-request-id", format!("call-{number}").parse().expect("a header"));
        tokio::spawn(async move { client.get_product(request).await.expect_err("there is none").code() })
    });
    let calls: Vec<_> = calls.collect();
    // All of them wait for one load, and so end together.
    eventually("calls that wait", async || {
        let stats = admin.get_stats(GetStatsRequest::default()).await.expect("statistics").into_inner();
        stats.replicas[0].loads.as_ref().expect("loads").joined == CALLS as u64 - 1
    })
    .await;
    lock.release().await;
    for code in join_all(calls).await {
        assert_eq!(code.expect("no panic"), tonic::Code::NotFound);
    }

    let slow = lines(&process, "slow call");
    assert!((1..CALLS).contains(&slow.len()), "ten lines a second: {}", process.log());
    for line in &slow {
        assert_eq!(line["code"], "NOT_FOUND", "{line}");
        assert_eq!(line["method"], "/larder.catalog.v1.ProductCatalog/GetProduct", "{line}");
        assert!(line["took_ms"].as_u64().is_some_and(|took| took >= 1), "{line}");
        assert!(line["request_id"].as_str().is_some_and(|id| id.starts_with("call-")), "{line}");
    }
    let told: u64 = slow.iter().map(|line| 1 + line["omitted"].as_u64().expect("a count")).sum();
    assert!(told <= CALLS as u64, "no call counts twice: {told}");
    assert!(process.stop().await.success());
}
