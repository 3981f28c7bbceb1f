//! The change log as a follower sees it.

use std::time::{Duration, Instant};

use larder_storage::{Change, Changes, ProductRepository, Subject, Term, Update, WriteOptions};

use crate::{
    basics::full,
    bench::{Bench, Follower, in_terms, named, until},
};

pub(crate) async fn puts_and_deletes_carry_versions_and_terms(bench: Bench) {
    let mut follower = bench.follow().await;
    let created = bench.create("a", &in_terms("a", &["x", "y"], &["t"])).await;
    let changes = follower.changes().await;
    let all = |categories: &[&str], tags: &[&str]| -> Vec<Term> {
        let categories = categories.iter().map(|&term| Term::Category(term.to_owned()));
        categories.chain(tags.iter().map(|&term| Term::Tag(term.to_owned()))).collect()
    };
    assert_eq!(
        subjects(&changes),
        [Subject::Put { key: "a".to_owned(), version: created.version, terms: all(&["x", "y"], &["t"]) }]
    );
    let update = Update {
        id: "a".to_owned(),
        data: in_terms("a", &["y", "z"], &["t", "u"]),
        mask: larder_storage::ProductMask::ALL,
        version: None,
        allow_missing: false,
    };
    let done = bench.repository.update(&update, &WriteOptions::default()).await.unwrap();
    let changes = follower.changes().await;
    assert_eq!(done.changes, changes, "a write is told what its followers read");
    assert!(
        matches!(&changes[0].subject, Subject::Put { terms, .. } if *terms == all(&["x", "y", "z"], &["t", "u"])),
        "old and new terms: {changes:?}"
    );
    let done = bench.repository.delete("a", None).await.unwrap();
    let changes = follower.changes().await;
    assert_eq!(done.changes, changes);
    assert!(
        matches!(&changes[0].subject, Subject::Delete { terms, .. } if *terms == all(&["y", "z"], &["t", "u"])),
        "{changes:?}"
    );
}

fn subjects(changes: &[Change]) -> Vec<Subject> {
    changes.iter().map(|change| change.subject.clone()).collect()
}

pub(crate) async fn requested_invalidations(bench: Bench) {
    let mut follower = bench.follow().await;
    bench
        .sql(
            "INSERT INTO changes (kind, key) VALUES ('key', 'a');\
             INSERT INTO changes (kind, key) VALUES ('tag', 'summer');\
             INSERT INTO changes (kind, key) VALUES ('category', 'pans');\
             INSERT INTO changes (kind, key) VALUES ('pattern', 'a*');\
             INSERT INTO changes (kind) VALUES ('all');",
        )
        .await;
    assert_eq!(follower.told().await, ["all", "category pans", "key a", "pattern a*", "tag summer"]);
}

pub(crate) async fn a_pass_tells_each_change_once(bench: Bench) {
    let mut follower = bench.follow().await;
    assert_eq!(follower.told().await, [""; 0]);
    for round in 0..10 {
        bench.create(&format!("p{round}"), &full()).await;
        let before = follower.snapshot.clone();
        let changes = follower.changes().await;
        assert_eq!(changes.len(), 1);
        assert!(!before.sees(changes[0].id) && follower.snapshot.sees(changes[0].id));
        assert_eq!(follower.told().await, [""; 0]);
    }
    // An older snapshot can be passed from too.
    let (snapshot, incarnation) = (follower.snapshot.clone(), follower.incarnation);
    bench.create("x", &full()).await;
    assert_eq!(follower.told().await, ["put x"]);
    bench.create("y", &full()).await;
    let pass = bench.repository.pass(Some((&snapshot, incarnation)), 10).await.unwrap();
    assert!(matches!(pass.changes, Changes::Complete(changes) if changes.len() == 2));
    assert_eq!(follower.told().await, ["put y"]);
}

pub(crate) async fn waiting_ends_with_a_change(bench: Bench) {
    let mut follower = bench.follow().await;
    // Settle: what is left of connecting may wake once.
    until("a quiet log", || async {
        let begin = Instant::now();
        bench.repository.changed(Duration::from_millis(200)).await;
        begin.elapsed() >= Duration::from_millis(200)
    })
    .await;
    let limit = Duration::from_mins(1);
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let typed = async {
            bench.sql(&format!("INSERT INTO products (id, name) VALUES ('p{round}', 'x')")).await;
            Instant::now()
        };
        let waiting = async {
            bench.repository.changed(limit).await;
            Instant::now()
        };
        // The first to be polled: the wait has begun when the row is typed.
        let (woken, typed) = tokio::join!(biased; waiting, typed);
        slowest = slowest.max(woken.saturating_duration_since(typed));
        assert_eq!(follower.told().await, [format!("put p{round}")]);
    }
    println!("woken at most {slowest:?} after the shell had ended");
    assert!(slowest < limit / 2, "the wait ended by itself: {slowest:?}");

    // A change between a wait and a pass is not swallowed: a wait that comes after the change ends at once.
    bench.create("q", &full()).await;
    let begin = Instant::now();
    bench.repository.changed(limit).await;
    bench.repository.changed(Duration::from_millis(1)).await;
    assert!(begin.elapsed() < limit);
    assert_eq!(follower.told().await, ["put q"]);
}

pub(crate) async fn pruning_keeps_what_is_young(bench: Bench) {
    let mut follower = bench.follow().await;
    for round in 0..5 {
        bench.create(&format!("p{round}"), &full()).await;
    }
    assert_eq!(bench.repository.prune(Duration::from_hours(1)).await.unwrap(), 0);
    assert_eq!(follower.told().await.len(), 5);
    follower.pass(10).await;
    // The newest row is kept, and SQLite has had one from the start.
    prune_all(&bench, if bench.is_postgres() { 4 } else { 5 }).await;
    // What was seen before is not missed, unless other databases held the last pass's horizon back.
    match follower.pass(10).await {
        Changes::Complete(changes) => assert_eq!(changes, []),
        Changes::Window { changes, .. } => assert!(bench.is_postgres() && changes.len() <= 1, "{changes:?}"),
        Changes::Incomplete(why) => panic!("{why}"),
    }
    bench.create("x", &full()).await;
    assert_eq!(follower.told().await, ["put x"]);
}

/// Prunes until so many rows are gone. Transactions in other databases of the same server hold PostgreSQL's horizon back.
pub(crate) async fn prune_all(bench: &Bench, rows: u64) {
    let gone = std::sync::atomic::AtomicU64::new(0);
    until("everything to be pruned", || async {
        let more = bench.repository.prune(Duration::ZERO).await.unwrap();
        gone.fetch_add(more, std::sync::atomic::Ordering::Relaxed) + more >= rows
    })
    .await;
    assert_eq!(gone.into_inner(), rows);
}

pub(crate) async fn pruned_changes_are_not_missed_silently(bench: Bench) {
    let mut follower = bench.follow().await;
    let mut sleeper = Follower::begin(std::sync::Arc::clone(&bench.repository)).await;
    for round in 0..5 {
        bench.create(&format!("p{round}"), &full()).await;
    }
    follower.changes().await;
    prune_all(&bench, if bench.is_postgres() { 4 } else { 5 }).await;
    let incarnation = sleeper.incarnation;
    sleeper.window(100).await;
    assert_eq!(sleeper.incarnation, incarnation);
    bench.create("x", &named("x")).await;
    assert_eq!(sleeper.told().await, ["put x"]);
}

pub(crate) async fn a_clean_restart_keeps_the_incarnation(bench: Bench) {
    let mut follower = bench.follow().await;
    bench.create("a", &full()).await;
    follower.changes().await;
    let (snapshot, incarnation) = (follower.snapshot.clone(), follower.incarnation);
    bench.repository.close().await;
    let again = bench.another().await;
    let done = again.create("b", &full(), &WriteOptions::default()).await.unwrap();
    assert_eq!(done.commit.unwrap().incarnation, incarnation);
    let pass = again.pass(Some((&snapshot, incarnation)), 100).await.unwrap();
    assert_eq!(pass.incarnation, incarnation);
    assert!(matches!(pass.changes, Changes::Complete(changes) if changes == done.changes));
}
