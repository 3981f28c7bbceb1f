//! Requested invalidations, and the change log read again from an earlier snapshot.

use std::sync::Arc;

use larder_storage::{
    Change, Changes, Creation, Incarnation, Invalidating, Invalidation, LogBatch, ProductRepository, Recalled, Replay,
    Repository, Snapshot, Subject, Term, WriteOptions,
};

use crate::{
    basics::full,
    bench::{Bench, Follower, named, tell_all},
    log::prune_all,
};

fn each_kind() -> [Invalidation; 6] {
    [
        Invalidation::Key("a".to_owned()),
        Invalidation::Key("list:*?[\\]{}'\"\n\u{1F600}".to_owned()),
        Invalidation::Term(Term::Category("Käse, \"frisch\"".to_owned())),
        tag("Käse, \"frisch\""),
        Invalidation::Pattern("product:*".to_owned()),
        Invalidation::All,
    ]
}

fn tag(tag: &str) -> Invalidation {
    Invalidation::Term(Term::Tag(tag.to_owned()))
}

fn expected() -> Vec<Subject> {
    let subject = |invalidation| match invalidation {
        Invalidation::Key(key) => Subject::Key(key),
        Invalidation::Term(term) => Subject::Term(term),
        Invalidation::Pattern(pattern) => Subject::Pattern(pattern),
        Invalidation::All => Subject::All,
    };
    each_kind().into_iter().map(subject).collect()
}

fn subjects(changes: &[Change]) -> Vec<Subject> {
    changes.iter().map(|change| change.subject.clone()).collect()
}

/// In the order of what is asked for: a pass of SQLite tells the newest first.
fn sorted(changes: &[Change]) -> Vec<String> {
    let mut all: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
    all.sort_unstable();
    all
}

pub(crate) async fn each_kind_is_told_to_everybody(bench: Bench) {
    let product = bench.create("a", &full()).await;
    let other = bench.another().await;
    let mut follower = bench.follow().await;
    let mut stranger =
        Follower::begin(std::sync::Arc::new(larder_storage::Repository::connect(&bench.config).await.unwrap())).await;
    let since = follower.snapshot.clone();
    let done = bench.repository.invalidate(&each_kind()).await.unwrap();
    let told = tell_all(&done.changes);
    assert_eq!(subjects(&done.changes), expected(), "whoever asked is told, in this order");
    assert_eq!(sorted(&follower.changes().await), sorted(&done.changes), "a pass");
    assert_eq!(sorted(&stranger.changes().await), sorted(&done.changes), "a pass of another repository");
    let commit = done.commit.unwrap();
    let replayed = replay(&other, &since, commit.incarnation, 10).await.expect("the log tells it");
    assert!(matches!(&replayed.changes, Changes::Complete(changes) if tell_all(changes) == told), "a replay");
    assert!(follower.snapshot.sees(commit.id) && !since.sees(commit.id));
    assert!(done.horizon > 0 && done.horizon <= commit.id + 1);
    assert_eq!(follower.told().await, [""; 0], "once");
    assert_eq!(bench.get("a").await, Some(product), "and no product changes");
}

pub(crate) async fn a_thousand_keys_at_once(bench: Bench) {
    let mut follower = bench.follow().await;
    let keys: Vec<_> = (0..1_000).map(|number| Invalidation::Key(format!("product:{number}"))).collect();
    let done = bench.repository.invalidate(&keys).await.unwrap();
    assert_eq!(done.changes.len(), 1_000);
    assert_eq!(follower.changes().await.len(), 1_000);
    let none = bench.repository.invalidate(&[]).await.unwrap();
    assert!(none.changes.is_empty() && follower.told().await.is_empty());
}

pub(crate) async fn a_refused_invalidation_leaves_nothing(bench: Bench) {
    let mut follower = bench.follow().await;
    for refused in [Invalidation::Key(String::new()), tag(""), Invalidation::Term(Term::Category(String::new()))] {
        let asked = [Invalidation::Key("a".to_owned()), Invalidation::All, refused];
        bench.repository.invalidate(&asked).await.unwrap_err();
    }
    assert_eq!(follower.told().await, [""; 0]);
    assert!(bench.sql("SELECT kind FROM changes WHERE kind = 'key'").await.trim().is_empty());
}

pub(crate) async fn an_invalidation_with_a_request_id_is_done_once(bench: Bench) {
    let mut follower = bench.follow().await;
    let other = bench.another().await;
    let first = bench.repository.invalidate_once("r", 100, &each_kind()).await.unwrap();
    assert_eq!((first.value, subjects(&first.changes)), (Invalidating::Done, expected()));
    assert_eq!(follower.changes().await.len(), 6);
    for (signed, expected) in [
        (100, Invalidating::Replayed),
        (99, Invalidating::Replayed),
        (0, Invalidating::Replayed),
        (101, Invalidating::Repeated),
        (101, Invalidating::Replayed),
        (u64::MAX, Invalidating::Repeated),
        (u64::MAX, Invalidating::Replayed),
    ] {
        let again = other.invalidate_once("r", signed, &each_kind()).await.unwrap();
        assert_eq!((again.value, again.changes.len()), (expected, 0), "by another repository, signed at {signed}");
        assert!(again.commit.is_some_and(|commit| commit.id >= first.commit.unwrap().id));
    }
    for signed in [50, 150] {
        let reused = bench.repository.invalidate_once("r", signed, &[Invalidation::All]).await.unwrap();
        assert_eq!((reused.value, reused.changes.len()), (Invalidating::RequestIdReused, 0));
    }
    assert_eq!(follower.told().await, [""; 0], "once");
}

pub(crate) async fn ids_of_events_and_of_calls_are_of_two_name_spaces(bench: Bench) {
    let ids = ["c", "webhook:c", "call:c", "call:webhook:c"];
    for id in ids {
        let request = WriteOptions { request_id: Some(id.to_owned()), validate_only: false };
        let created = bench.repository.create(&id.replace(':', "."), &full(), &request).await.unwrap();
        assert!(matches!(created.value, Creation::Created(_)), "{id}: {:?}", created.value);
    }
    for id in ids {
        let done = bench.repository.invalidate_once(id, 100, &[Invalidation::All]).await.unwrap();
        assert_eq!(done.value, Invalidating::Done, "{id}");
        let request = WriteOptions { request_id: Some(id.to_owned()), validate_only: false };
        let again = bench.repository.create(&id.replace(':', "."), &full(), &request).await.unwrap();
        assert!(matches!(again.value, Creation::Created(_)), "{id}: a replay");
    }
    // What the release before this one has remembered goes on to count.
    bench.sql("INSERT INTO requests (id, fingerprint, reply) VALUES ('webhook:old', 'f', ''), ('old', 'f', '')").await;
    let known = bench.repository.invalidate_once("old", 100, &[Invalidation::All]).await.unwrap();
    assert_eq!(known.value, Invalidating::RequestIdReused);
    let request = WriteOptions { request_id: Some("old".to_owned()), validate_only: false };
    let known = bench.repository.create("old", &full(), &request).await.unwrap();
    assert_eq!(known.value, Creation::RequestIdReused);
}

pub(crate) async fn an_id_is_remembered_from_its_newest_call_on(bench: Bench) {
    bench.repository.invalidate_once("r", 100, &[Invalidation::All]).await.unwrap();
    let long_ago = if bench.is_postgres() { "now() - interval '25 hours'" } else { "0" };
    bench.sql(&format!("UPDATE requests SET create_time = {long_ago}")).await;
    let again = bench.repository.invalidate_once("r", 101, &[Invalidation::All]).await.unwrap();
    assert_eq!(again.value, Invalidating::Repeated);
    bench.repository.prune(std::time::Duration::from_hours(1)).await.unwrap();
    let copied = bench.repository.invalidate_once("r", 101, &[Invalidation::All]).await.unwrap();
    assert_eq!(copied.value, Invalidating::Replayed, "whoever has copied the newest call can do nothing with it");
}

pub(crate) async fn a_refused_invalidation_leaves_its_request_id(bench: Bench) {
    let refused = [Invalidation::All, Invalidation::Key(String::new())];
    bench.repository.invalidate_once("r", 100, &refused).await.unwrap_err();
    assert_eq!(bench.sql("SELECT count(*) FROM requests").await, "0");
    let done = bench.repository.invalidate_once("r", 100, &[Invalidation::All]).await.unwrap();
    assert_eq!(done.value, Invalidating::Done, "what failed can be repeated as it was");
}

pub(crate) async fn of_concurrent_calls_signed_at_one_time_one_counts(bench: Bench) {
    let mut follower = bench.follow().await;
    let other = Arc::new(bench.another().await);
    for round in 0..10 {
        let id = format!("r{}", round / 2);
        let calls = (0..8).map(|number| {
            let (id, repository) = (id.clone(), Arc::clone(if number % 2 == 0 { &bench.repository } else { &other }));
            tokio::spawn(async move { repository.invalidate_once(&id, 100 + round % 2, &[tag(&id)]).await })
        });
        let mut counted = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            counted.push(call.await.unwrap().unwrap().value);
        }
        counted.retain(|value| *value != Invalidating::Replayed);
        let (expected, told) = match round % 2 {
            0 => (Invalidating::Done, vec![format!("tag {id}")]),
            _ => (Invalidating::Repeated, Vec::new()),
        };
        assert_eq!(counted, [expected], "one of eight");
        assert_eq!(follower.told().await, told);
    }
}

pub(crate) async fn an_invalidation_ends_the_wait_for_a_change(bench: Bench) {
    let mut follower = bench.follow().await;
    let other = bench.another().await;
    let limit = std::time::Duration::from_secs(20);
    let began = std::time::Instant::now();
    while follower.told().await.is_empty() {
        assert!(began.elapsed() < limit, "nobody was woken");
        let wanted = [tag("t")];
        let ((), done) = tokio::join!(bench.repository.changed(limit), other.invalidate(&wanted));
        done.unwrap();
    }
    assert!(began.elapsed() < limit);
}

pub(crate) async fn invalidations_are_pruned_like_others(bench: Bench) {
    let mut sleeper = bench.follow().await;
    bench.repository.invalidate(&each_kind()).await.unwrap();
    let newest = bench.repository.invalidate(&[tag("newest")]).await.unwrap();
    // SQLite has had a row from the start.
    prune_all(&bench, if bench.is_postgres() { 6 } else { 7 }).await;
    // What was pruned is not missed silently, and the newest change is always there.
    let (_, changes) = sleeper.window(100).await;
    assert!(changes.is_empty() || changes == newest.changes, "{changes:?}");
    let kept = newest.commit.unwrap();
    let recalled = bench.repository.recall(&[kept.witness()]).await.unwrap();
    assert_eq!(recalled.changes, [Recalled::Here]);
    bench.repository.invalidate(&[tag("later")]).await.unwrap();
    assert_eq!(sleeper.told().await, ["tag later"]);
}

async fn replay(repository: &Repository, since: &Snapshot, of: Incarnation, limit: u32) -> Result<LogBatch, Replay> {
    match repository.replay(since, of, limit).await.unwrap() {
        Replay::Told(pass) => Ok(pass),
        other => Err(other),
    }
}

pub(crate) async fn a_replay_tells_what_came_after_a_snapshot(bench: Bench) {
    let mut follower = bench.follow().await;
    let (start, life) = (follower.snapshot.clone(), follower.incarnation);
    let mut written = Vec::new();
    let mut snapshots = vec![start.clone()];
    for round in 0..4 {
        let created =
            bench.repository.create(&format!("p{round}"), &named("x"), &WriteOptions::default()).await.unwrap();
        written.extend(created.changes);
        let asked = bench.repository.invalidate(&[tag(&format!("t{round}"))]).await.unwrap();
        written.extend(asked.changes);
        let now = bench.repository.get(&[]).await.unwrap().point.snapshot;
        snapshots.push(now);
    }
    for (round, since) in snapshots.iter().enumerate() {
        let pass = replay(&bench.repository, since, life, 100).await.expect("the log tells it");
        let Changes::Complete(changes) = &pass.changes else { panic!("{pass:?}") };
        assert_eq!(tell_all(changes), tell_all(&written[2 * round..]), "after round {round}");
        assert!(written.iter().all(|change| pass.snapshot.sees(change.id)));
        assert_eq!(pass.incarnation, life);
    }
    // Who follows the log is told all the same.
    assert_eq!(follower.changes().await.len(), 8);
    let pass = replay(&bench.repository, &start, life, 7).await.unwrap();
    assert!(
        matches!(&pass.changes, Changes::Window { from, changes } if *from == pass.snapshot.xmax && changes.is_empty()),
        "more than the limit: {pass:?}"
    );
    let elsewhere = replay(&bench.repository, &start, Incarnation(life.0 ^ 1), 100).await;
    assert_eq!(elsewhere, Err(Replay::OtherLife));
    prune_all(&bench, if bench.is_postgres() { 7 } else { 8 }).await;
    assert_eq!(replay(&bench.repository, &start, life, 100).await, Err(Replay::Pruned));
}
