//! Replicas that know and ask each other, over one real Redis.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use larder_cache::{Answers, Clock, Replica, SharedConfig, Token};
use larder_test_servers::{Faults, Proxy, Redis};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    shared::{Cluster, shared},
    support::{Bench, entry, until},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// Long enough for an answer, on a busy machine too, and not for ever: there is one who never answers.
const SHORT: Duration = Duration::from_secs(3);

/// Questions that a replica answers at once.
const MOST_ANSWERED: u64 = 16;

/// Replicas that know each other.
async fn cluster(configs: Vec<SharedConfig>, clock: Clock) -> Cluster {
    let cluster = Cluster::with(configs, clock, |db| db).await;
    for replica in &cluster.replicas {
        until(|| expected(&replica.replicas()).len() == cluster.replicas.len() - 1).await;
    }
    cluster
}

async fn three() -> Cluster {
    let redis = Redis::shared().await;
    cluster(vec![shared(redis.url()); 3], Clock::manual()).await
}

fn expected(replicas: &[Replica]) -> Vec<&str> {
    replicas.iter().filter(|replica| replica.expected).map(|replica| replica.name.as_str()).collect()
}

fn names(replicas: &[Replica]) -> Vec<&str> {
    replicas.iter().map(|replica| replica.name.as_str()).collect()
}

/// Answers with its own name and the question.
fn answer(cluster: &Cluster, replica: usize) {
    let name = cluster.replicas[replica].this_replica().unwrap().name;
    let handler = move |question: Bytes| {
        let answer = [name.as_bytes(), b" ", &question].concat();
        async move { Bytes::from(answer) }
    };
    assert!(cluster.replicas[replica].on_question(handler));
}

fn told(answers: &Answers) -> Vec<(&str, &[u8])> {
    answers.answers.iter().map(|(replica, answer)| (replica.name.as_str(), &answer[..])).collect()
}

#[tokio::test]
async fn replicas_know_each_other() {
    let began = Instant::now();
    let mut cluster = three().await;
    assert!(began.elapsed() < LONG);
    let others = cluster.replicas[0].replicas();
    assert_eq!(names(&others), ["replica-2", "replica-3"]);
    assert_eq!((others[0].id, others[0].version.as_str()), (2, "1.2.3"));
    assert_eq!(cluster.replicas[0].this_replica().unwrap().id, 1);
    // Another catalogue over the same Redis is none of theirs.
    let redis = Redis::shared().await;
    cluster.join(shared(redis.url()));
    cluster.joined(&cluster.replicas[3]).await;
    assert!(cluster.replicas[3].replicas().is_empty());
    assert_eq!(cluster.replicas[0].replicas().len(), 2);
}

#[tokio::test]
async fn all_answer_and_who_does_not_is_named() {
    let cluster = three().await;
    answer(&cluster, 1);
    answer(&cluster, 2);
    assert!(!cluster.replicas[2].on_question(|_| pending()), "there is one already");
    let began = Instant::now();
    let answers = cluster.replicas[0].ask(Bytes::from_static(b"who?"), LONG).await;
    assert_eq!(told(&answers), [("replica-2", &b"replica-2 who?"[..]), ("replica-3", b"replica-3 who?")]);
    assert!(answers.silent.is_empty() && began.elapsed() < LONG, "nobody waits for the end of the time");
    // One that has no handler has nothing to say, and says so at once.
    let answers = cluster.replicas[2].ask(Bytes::new(), LONG).await;
    assert_eq!(told(&answers), [("replica-2", &b"replica-2 "[..])]);
    assert_eq!(names(&answers.silent), ["replica-1"]);
    // One that takes too long.
    assert!(cluster.replicas[0].on_question(|_| pending()));
    let answers = cluster.replicas[2].ask(Bytes::new(), SHORT).await;
    assert_eq!((told(&answers).len(), names(&answers.silent)), (1, vec!["replica-1"]));
    until(|| cluster.replicas[0].stats().peer_late == 1).await;
}

#[tokio::test]
async fn who_cannot_hear_is_silent_and_who_is_silent_is_not_expected() {
    let redis = Redis::shared().await;
    let config = shared(redis.url());
    let proxy = Proxy::start(redis.address());
    let far = SharedConfig { url: proxy.url(), ..config.clone() };
    let cluster = cluster(vec![config.clone(), config, far], Clock::manual()).await;
    answer(&cluster, 1);
    answer(&cluster, 2);
    proxy.set(Faults { refuse: 1.0, ..Faults::default() });
    proxy.cut_all();
    let answers = cluster.replicas[0].ask(Bytes::new(), SHORT).await;
    assert_eq!((told(&answers).len(), names(&answers.silent)), (1, vec!["replica-3"]));
    // It asks nobody in vain either.
    until(|| cluster.replicas[2].bus_connected() == Some(false)).await;
    let began = Instant::now();
    let answers = cluster.replicas[2].ask(Bytes::new(), LONG).await;
    assert_eq!((answers.answers.len(), answers.silent.len()), (0, 2));
    assert!(began.elapsed() < LONG);

    cluster.clock.advance(Duration::from_secs(11));
    until(|| expected(&cluster.replicas[0].replicas()) == ["replica-2"]).await;
    assert_eq!(names(&cluster.replicas[0].replicas()), ["replica-2", "replica-3"], "it is still remembered");
    let answers = cluster.replicas[0].ask(Bytes::new(), LONG).await;
    assert_eq!((told(&answers).len(), answers.silent.len()), (1, 0));
    cluster.clock.advance(Duration::from_secs(55));
    until(|| names(&cluster.replicas[0].replicas()) == ["replica-2"]).await;
    // When it is back it says hello.
    proxy.set(Faults::default());
    until(|| expected(&cluster.replicas[0].replicas()) == ["replica-2", "replica-3"]).await;
    until(|| expected(&cluster.replicas[2].replicas()) == ["replica-1", "replica-2"]).await;
}

#[tokio::test]
async fn nobody_waits_for_who_said_goodbye() {
    let cluster = three().await;
    answer(&cluster, 1);
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    cluster.replicas[2].on_question(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        pending()
    });
    let began = Instant::now();
    let ask = cluster.replicas[0].ask(Bytes::new(), LONG);
    let leave = async {
        until(|| asked.load(Ordering::SeqCst) == 1).await;
        cluster.replicas[2].leave().await;
    };
    let (answers, ()) = tokio::join!(ask, leave);
    assert_eq!((told(&answers).len(), answers.silent.len()), (1, 0));
    assert!(began.elapsed() < LONG);
    for replica in [0, 1] {
        until(|| cluster.replicas[replica].replicas().len() == 1).await;
    }
    // One whose sharing ends says so, too.
    cluster.tasks[1][0].abort();
    until(|| cluster.replicas[0].replicas().is_empty()).await;
    assert_eq!(cluster.replicas[0].ask(Bytes::new(), LONG).await, Answers::default());
}

#[tokio::test]
async fn replicas_confirm_what_they_have_learned() {
    let cluster = three().await;
    let (token, _) = cluster.write(0, entry("item:a", &[]), true).await;
    let confirmed = cluster.replicas[0].confirm(token, LONG).await;
    assert_eq!((names(&confirmed.applied), confirmed.silent.len()), (vec!["replica-2", "replica-3"], 0));
    // One that does not read the log any more, and learns only what the bus brings, has not learned everything.
    cluster.tasks[2][1].abort();
    until(|| cluster.tasks[2][1].is_finished()).await;
    let (token, _) = cluster.write(0, entry("item:a", &[]), true).await;
    let confirmed = cluster.replicas[0].confirm(token, SHORT).await;
    assert_eq!((names(&confirmed.applied), names(&confirmed.silent)), (vec!["replica-2"], vec!["replica-3"]));
    // Of another life nobody has learned.
    let strange = Token { incarnation: larder_cache::Incarnation(99), id: 1, salt: 1 };
    let confirmed = cluster.replicas[0].confirm(strange, SHORT).await;
    assert_eq!((confirmed.applied.len(), confirmed.silent.len()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_is_bounded() {
    let cluster = three().await;
    let [running, most, answered] = [0; 3].map(|_| Arc::new(AtomicU64::new(0)));
    let counts = [&running, &most, &answered].map(Arc::clone);
    let gate = Arc::new(Semaphore::new(0));
    let opening = Arc::clone(&gate);
    cluster.replicas[1].on_question(move |question| {
        let ([running, most, answered], open) = (counts.clone(), Arc::clone(&gate));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            drop(open.acquire().await);
            running.fetch_sub(1, Ordering::SeqCst);
            answered.fetch_add(1, Ordering::SeqCst);
            question
        }
    });
    let questions = (0..200).map(|number| {
        let asker = &cluster.replicas[if number % 2 == 0 { 0 } else { 2 }];
        asker.ask(Bytes::from(number.to_string()), LONG)
    });
    let all_at_once = async {
        until(|| running.load(Ordering::SeqCst) == MOST_ANSWERED).await;
        opening.close();
    };
    let (answered_all, ()) = tokio::join!(join_all(questions), all_at_once);
    for (number, answers) in answered_all.into_iter().enumerate() {
        let told: Vec<_> = answers.answers.iter().map(|(_, answer)| answer.clone()).collect();
        assert_eq!(told, [Bytes::from(number.to_string())], "each is told the answer to its own");
    }
    assert_eq!(answered.load(Ordering::SeqCst), 200);
    assert_eq!(most.load(Ordering::SeqCst), MOST_ANSWERED, "at once");
}

#[tokio::test]
async fn what_is_too_large_or_not_understood_is_left_out() {
    let redis = Redis::shared().await;
    let config = shared(redis.url());
    let cluster = cluster(vec![config.clone(); 2], Clock::manual()).await;
    cluster.replicas[1].on_question(|question| async move { Bytes::from(vec![0; question.len() + 1]) });
    let size = |size: usize| Bytes::from(vec![1; size]);
    let largest = 256 << 10;
    let answers = cluster.replicas[0].ask(size(largest - 1), LONG).await;
    assert_eq!(told(&answers)[0].1.len(), largest);
    for (size, dropped) in [(size(largest), 1), (size(largest + 1), 0)] {
        let answers = cluster.replicas[0].ask(size, LONG).await;
        assert_eq!((answers.answers.len(), answers.silent.len()), (0, 1));
        assert_eq!(cluster.replicas[1].stats().peer_dropped, 1);
        assert_eq!(cluster.replicas[0].stats().peer_dropped, 1 - dropped);
    }
    for channel in ["replicas", "replica:0000000000000001"] {
        redis.cli(&["PUBLISH", &format!("{}:{channel}", config.prefix), "hello?"]).await;
    }
    until(|| cluster.replicas[0].stats().peer_unknown == 2).await;
    assert_eq!(cluster.replicas[0].ask(Bytes::new(), LONG).await.answers.len(), 1, "and all goes on");
}

#[tokio::test]
async fn a_question_past_its_time_is_not_answered() {
    let redis = Redis::shared().await;
    let config = shared(redis.url());
    let proxy = Proxy::start(redis.address());
    let far = SharedConfig { url: proxy.url(), ..config.clone() };
    // Their own clocks: how late something is can be told by them alone.
    let cluster = cluster(vec![config, far], Clock::system()).await;
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    cluster.replicas[1].on_question(move |question| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move { question }
    });
    proxy.set(Faults { push_delay: Duration::from_millis(800), ..Faults::default() });
    let answers = cluster.replicas[0].ask(Bytes::new(), Duration::from_millis(200)).await;
    assert_eq!((answers.answers.len(), names(&answers.silent)), (0, vec!["replica-2"]));
    until(|| cluster.replicas[1].stats().peer_late == 1).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(cluster.replicas[0].ask(Bytes::new(), LONG).await.answers.len(), 1, "one that is late and in time");
}

#[tokio::test]
async fn without_redis_there_is_nobody_to_ask() {
    let bench = Bench::new().await;
    assert_eq!(bench.cache.ask(Bytes::new(), LONG).await, Answers::default());
    let confirmed = bench.cache.confirm(bench.db.put("item:a", &[]), LONG).await;
    assert!(confirmed.applied.is_empty() && confirmed.silent.is_empty());
    bench.cache.leave().await;
}
