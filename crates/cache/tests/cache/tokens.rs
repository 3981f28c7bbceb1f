//! Reads that must show a commit, or everything acknowledged before them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use larder_cache::{CacheConfig, Freshness, Incarnation, ReadError, Token};

use crate::support::{At, Bench, config};

/// Passes come by wish alone.
async fn unhurried() -> Arc<Bench> {
    Arc::new(Bench::with(CacheConfig { staleness_bound: Duration::from_hours(1), ..config() }).await)
}

#[tokio::test]
async fn a_commit_that_the_last_pass_saw_needs_none() {
    let bench = unhurried().await;
    let token = bench.db.put("item:a", &[]);
    bench.pass().await;
    let passes = bench.stats().passes;
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    bench.cache.reach(Freshness::MinimizeLatency).await.unwrap();
    assert_eq!(bench.stats().passes, passes);
}

#[tokio::test]
async fn a_commit_that_it_did_not_see_needs_one() {
    let bench = unhurried().await;
    bench.db.put("item:a", &[]);
    assert_eq!(bench.seq("item:a").await, Some(1));
    let token = bench.db.put("item:a", &[]);
    assert_eq!(bench.seq("item:a").await, Some(1), "nobody told");
    let passes = bench.stats().passes;
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.stats().passes, passes + 1);
    assert_eq!(bench.seq("item:a").await, Some(2));
}

#[tokio::test]
async fn a_commit_out_of_the_order_of_ids_is_found() {
    let bench = unhurried().await;
    let old = bench.db.begin();
    bench.db.put("item:a", &[]);
    bench.pass().await;
    assert_eq!(bench.seq("item:a").await, Some(1));
    bench.db.commit(old, crate::support::entry("item:a", &[]), true);
    bench.cache.reach(Freshness::AtLeast(bench.db.token(old))).await.unwrap();
    assert_eq!(bench.seq("item:a").await, Some(2), "its id is below one seen before");
}

#[tokio::test]
async fn a_commit_that_the_database_does_not_have_is_refused() {
    let bench = unhurried().await;
    let id = bench.db.begin();
    let reach = |id| bench.cache.reach(Freshness::AtLeast(bench.db.token(id)));
    assert_eq!(reach(id).await, Err(ReadError::UnknownCommit), "still open");
    assert_eq!(reach(id + 1_000).await, Err(ReadError::UnknownCommit), "never begun");
}

#[tokio::test]
async fn a_token_of_another_incarnation_is_refused() {
    let bench = unhurried().await;
    let token = Token { incarnation: Incarnation(7), id: 1, salt: 1 };
    assert_eq!(bench.cache.reach(Freshness::AtLeast(token)).await, Err(ReadError::OtherIncarnation));
}

#[tokio::test]
async fn a_token_of_the_next_incarnation_is_reached_by_a_pass() {
    let bench = unhurried().await;
    bench.db.next_incarnation();
    let token = bench.db.put("item:a", &[]);
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.seq("item:a").await, Some(1));
}

#[tokio::test]
async fn a_token_outlives_a_restart_of_the_database() {
    let bench = unhurried().await;
    let (older, token) = (bench.db.put("item:a", &[]), bench.db.put("item:a", &[]));
    bench.db.restart();
    bench.pass().await;
    for token in [token, older] {
        bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
        assert_eq!(bench.seq("item:a").await, Some(2));
    }
    let passes = bench.stats().passes;
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.stats().passes, passes, "it is looked up once");
    let other = Token { salt: token.salt ^ 1, ..token };
    assert_eq!(bench.cache.reach(Freshness::AtLeast(other)).await, Err(ReadError::OtherIncarnation));
    bench.db.restart();
    bench.pass().await;
    let passes = bench.stats().passes;
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.stats().passes, passes + 1, "and again in another life");
    bench.db.restart();
    bench.db.prune();
    bench.pass().await;
    assert_eq!(bench.cache.reach(Freshness::AtLeast(token)).await, Err(ReadError::ForgottenCommit));
    bench.db.fail_passes.store(true, Ordering::SeqCst);
    assert_eq!(bench.cache.reach(Freshness::AtLeast(token)).await, Err(ReadError::NoPass));
}

#[tokio::test]
async fn ids_used_again_by_another_life_make_no_token_of_a_lost_one_hold() {
    let bench = unhurried().await;
    let lost = bench.db.put("item:a", &[]);
    bench.cache.reach(Freshness::AtLeast(lost)).await.unwrap();
    bench.db.next_incarnation();
    for _ in 0..5 {
        bench.db.put("item:a", &[]);
    }
    bench.pass().await;
    assert_eq!(bench.cache.reach(Freshness::AtLeast(lost)).await, Err(ReadError::OtherIncarnation));
}

#[tokio::test]
async fn without_the_log_a_promise_is_refused() {
    let bench = unhurried().await;
    let token = bench.db.put("item:a", &[]);
    bench.db.fail_passes.store(true, Ordering::SeqCst);
    let failed = Err(ReadError::NoPass);
    assert_eq!(bench.cache.reach(Freshness::AtLeast(token)).await, failed);
    assert_eq!(bench.cache.reach(Freshness::FullyConsistent).await, failed);
    bench.db.fail_passes.store(false, Ordering::SeqCst);
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    bench.db.fail_passes.store(true, Ordering::SeqCst);
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.cache.reach(Freshness::FullyConsistent).await, failed);
}

#[tokio::test]
async fn a_wish_joins_no_pass_that_has_begun() {
    for at in [At::Pass, At::Passed] {
        let bench = unhurried().await;
        bench.db.put("item:a", &[]);
        assert_eq!(bench.seq("item:a").await, Some(1));
        bench.db.hold(at);
        let passes = bench.db.arrived(at);
        bench.db.notify();
        bench.db.reached(at, passes + 1).await;
        bench.db.put("item:a", &[]);
        let reader = Arc::clone(&bench);
        let reader = tokio::spawn(async move { reader.cache.reach(Freshness::FullyConsistent).await });
        tokio::task::yield_now().await;
        bench.db.release(at);
        reader.await.unwrap().unwrap();
        assert_eq!(bench.db.arrived(at), passes + 2, "{at:?}");
        assert_eq!(bench.seq("item:a").await, Some(2), "{at:?}");
    }
}

#[tokio::test]
async fn many_wishes_are_one_pass() {
    let bench = unhurried().await;
    let reaches = (0..1_000).map(|_| bench.cache.reach(Freshness::FullyConsistent));
    let passes = bench.stats().passes;
    assert!(join_all(reaches).await.iter().all(Result::is_ok));
    assert_eq!(bench.stats().passes, passes + 1);
    // Nor is one made for wishes that were fulfilled.
    bench.cache.reach(Freshness::FullyConsistent).await.unwrap();
    assert_eq!(bench.stats().passes, passes + 2);
}

#[tokio::test]
async fn wishes_during_a_pass_are_one_pass_more() {
    let bench = unhurried().await;
    bench.db.hold(At::Passed);
    let passes = bench.db.arrived(At::Passed);
    bench.db.notify();
    bench.db.reached(At::Passed, passes + 1).await;
    let release = async {
        tokio::task::yield_now().await;
        bench.db.release(At::Passed);
    };
    let reaches = join_all((0..1_000).map(|_| bench.cache.reach(Freshness::FullyConsistent)));
    let (reaches, ()) = tokio::join!(reaches, release);
    assert!(reaches.iter().all(Result::is_ok));
    assert_eq!(bench.db.arrived(At::Passed), passes + 2);
}

#[tokio::test]
async fn a_wish_made_while_the_log_fails_is_answered_by_a_later_pass() {
    let bench = unhurried().await;
    bench.db.hold(At::Pass);
    let passes = bench.db.arrived(At::Pass);
    bench.db.notify();
    bench.db.reached(At::Pass, passes + 1).await;
    bench.db.fail_passes.store(true, Ordering::SeqCst);
    let reader = Arc::clone(&bench);
    let reader = tokio::spawn(async move { reader.cache.reach(Freshness::FullyConsistent).await });
    tokio::task::yield_now().await;
    bench.db.release(At::Pass);
    crate::support::until(|| bench.stats().failed_passes == 1).await;
    bench.db.fail_passes.store(false, Ordering::SeqCst);
    reader.await.unwrap().unwrap();
}
