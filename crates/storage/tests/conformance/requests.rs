//! Request ids.

use std::sync::Arc;

use larder_storage::{Creation, ProductMask, ProductRepository, Updating, WriteOptions};

use crate::{
    basics::{full, update},
    bench::{Bench, named},
};

fn request(id: &str) -> WriteOptions {
    WriteOptions { request_id: Some(id.to_owned()), validate_only: false }
}

pub(crate) async fn a_repeated_creation_returns_the_first_reply(bench: Bench) {
    let first = bench.repository.create("a", &full(), &request("r")).await.unwrap();
    bench
        .repository
        .update(&update("a", named("changed since"), ProductMask::ALL), &WriteOptions::default())
        .await
        .unwrap();
    let again = bench.repository.create("a", &full(), &request("r")).await.unwrap();
    assert_eq!(again.value, first.value);
    assert!(again.changes.is_empty());
    // The token of the replay is fresh: whoever reads with it sees at least what the first call wrote.
    let (one, two) = (first.commit.unwrap(), again.commit.unwrap());
    assert!(two.id > one.id && two.incarnation == one.incarnation);
    bench.repository.delete("a", None).await.unwrap();
    let gone = bench.repository.create("a", &full(), &request("r")).await.unwrap();
    assert_eq!(gone.value, first.value);
    assert_eq!(bench.get("a").await, None, "a replay creates nothing");
}

pub(crate) async fn concurrent_creations_with_one_request_id_create_once(bench: Bench) {
    for round in 0..5 {
        let mut follower = bench.follow().await;
        let calls = (0..8).map(|_| {
            let repository = Arc::clone(&bench.repository);
            tokio::spawn(async move {
                repository.create(&format!("p{round}"), &full(), &request(&format!("r{round}"))).await
            })
        });
        let mut replies = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            replies.push(call.await.unwrap().unwrap());
        }
        let Creation::Created(first) = &replies[0].value else { panic!("{replies:?}") };
        assert!(replies.iter().all(|reply| reply.value == Creation::Created(first.clone())));
        assert_eq!(replies.iter().filter(|reply| !reply.changes.is_empty()).count(), 1);
        assert_eq!(follower.told().await, [format!("put p{round}")]);
    }
}

pub(crate) async fn a_request_id_is_for_one_request(bench: Bench) {
    bench.repository.create("a", &full(), &request("r")).await.unwrap();
    let other = bench.repository.create("a", &named("x"), &request("r")).await.unwrap();
    assert_eq!(other.value, Creation::RequestIdReused);
    let other = bench.repository.create("b", &full(), &request("r")).await.unwrap();
    assert_eq!(other.value, Creation::RequestIdReused);
    let change = update("a", full(), ProductMask::ALL);
    let other = bench.repository.update(&change, &request("r")).await.unwrap();
    assert_eq!(other.value, Updating::RequestIdReused);
    assert!(other.changes.is_empty());
    assert_eq!(bench.get("b").await, None);
}

pub(crate) async fn updates_are_repeated_safely(bench: Bench) {
    bench.create("a", &full()).await;
    let change = update("a", named("x"), ProductMask::ALL);
    let first = bench.repository.update(&change, &request("r")).await.unwrap();
    let again = bench.repository.update(&change, &request("r")).await.unwrap();
    assert_eq!(again.value, first.value);
    assert!(again.changes.is_empty() && !first.changes.is_empty());
    let mut other = change.clone();
    other.mask.tags = false;
    let reused = bench.repository.update(&other, &request("r")).await.unwrap();
    assert_eq!(reused.value, Updating::RequestIdReused);
}

pub(crate) async fn a_refused_request_is_not_remembered(bench: Bench) {
    let product = bench.create("a", &full()).await;
    let refused = bench.repository.create("a", &full(), &request("r")).await.unwrap();
    assert_eq!(refused.value, Creation::Exists);
    let mut change = update("a", named("x"), ProductMask::ALL);
    change.version = Some(product.version + 1);
    let refused = bench.repository.update(&change, &request("r")).await.unwrap();
    assert_eq!(refused.value, Updating::VersionDiffers);
    bench.repository.delete("a", None).await.unwrap();
    let created = bench.repository.create("a", &full(), &request("r")).await.unwrap();
    assert!(matches!(created.value, Creation::Created(_)));
}

pub(crate) async fn old_requests_are_forgotten(bench: Bench) {
    bench.repository.create("a", &full(), &request("old")).await.unwrap();
    bench.repository.create("b", &full(), &request("young")).await.unwrap();
    let day_ago = if bench.is_postgres() {
        "now() - interval '25 hours'"
    } else {
        "CAST(strftime('%s', 'now') AS INTEGER) - 90000"
    };
    bench.sql(&format!("UPDATE requests SET create_time = {day_ago} WHERE id = 'old'")).await;
    let gone = bench.repository.prune(std::time::Duration::from_hours(1)).await.unwrap();
    assert_eq!(gone, 1);
    assert_eq!(bench.sql("SELECT id FROM requests").await, "young");
}
