//! What a copy of something written is stamped with.

use larder_storage::{ProductMask, ProductRepository, WriteOptions};
use sqlx::{Connection, PgConnection};

use crate::{
    basics::{full, update},
    bench::{Bench, Shell, named, until},
};

pub(crate) async fn every_write_tells_its_horizon(bench: Bench) {
    let plain = WriteOptions::default();
    let mut horizons = Vec::new();
    let created = bench.repository.create("a", &full(), &plain).await.unwrap();
    horizons.push((created.horizon, created.commit));
    let updated = bench.repository.update(&update("a", named("b"), ProductMask::ALL), &plain).await.unwrap();
    horizons.push((updated.horizon, updated.commit));
    let imported = bench.repository.import(&[("a".to_owned(), named("c")), ("b".to_owned(), full())]).await.unwrap();
    horizons.push((imported.horizon, imported.commit));
    let deleted = bench.repository.delete("a", None).await.unwrap();
    horizons.push((deleted.horizon, deleted.commit));
    let missing = bench.repository.delete("a", None).await.unwrap();
    horizons.push((missing.horizon, missing.commit));
    let after = bench.repository.get(&[]).await.unwrap().point.snapshot;
    for (horizon, commit) in &horizons {
        let id = commit.unwrap().id;
        if bench.is_postgres() {
            assert!(*horizon > 0 && *horizon <= id, "{horizons:?}: a transaction is in progress to itself");
        } else {
            assert_eq!(*horizon, id + 1, "one writer");
        }
        assert!(*horizon <= after.xmin, "what was finished stays finished: {horizons:?} {after:?}");
    }
    assert!(horizons.is_sorted_by_key(|(horizon, _)| *horizon), "{horizons:?}");
    let dry = WriteOptions { request_id: None, validate_only: true };
    assert_eq!(bench.repository.create("d", &full(), &dry).await.unwrap().horizon, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_holds_horizons_back() {
    let bench = Bench::postgres().await;
    let plain = WriteOptions::default();
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut open = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; INSERT INTO products (id, name) VALUES ('open', 'x')").execute(&mut open).await.unwrap();
    let id: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut open).await.unwrap();
    let id: u64 = id.parse().unwrap();
    for round in 0..3 {
        let done = bench.repository.create(&format!("p{round}"), &full(), &plain).await.unwrap();
        assert!(done.horizon <= id && done.commit.unwrap().id > id, "{id}: {done:?}");
    }
    sqlx::raw_sql("COMMIT").execute(&mut open).await.unwrap();
    // Others on the same server hold it back too, while they last.
    until("a horizon above the one that was open", || async {
        bench.repository.delete("none", None).await.unwrap().horizon > id
    })
    .await;
}
