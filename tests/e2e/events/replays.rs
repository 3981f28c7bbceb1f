//! Webhooks that come more than once: each has its effect once, on whichever replica it comes. What its sender has signed anew
//! is a retry and answered like the first; the very same message again is a replay and refused.

use std::sync::Arc;

use larder_proto::catalog::CacheTier;
use larder_test_servers::{Postgres, PostgresOptions};

use super::{
    logged,
    sender::{Delivery, SECRET, changed, door, now, replica},
    tier, warm,
};
use crate::harness::{Database, Server, on_both_databases, product};

on_both_databases!(
    a_message_that_comes_again_has_no_second_effect,
    an_id_is_for_one_event,
    of_the_same_message_on_all_replicas_at_once_one_is_taken,
    retries_at_once_have_no_effect,
);

async fn a_message_that_comes_again_has_no_second_effect(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    replicas[0].create(product("a")).await;
    let begun = now();
    let attempt = |number| Delivery::signed("m", begun + number, &changed(&["a"]), &[SECRET]);
    assert_eq!(attempt(1).send(door(&replicas[0])).await.status, 204);
    for (server, newest) in replicas.iter().zip([2, 3]) {
        warm(server, "a").await;
        for replayed in [newest - 1, 0] {
            let answer = attempt(replayed).send(door(server)).await;
            assert_eq!(answer.told(), (409, "WEBHOOK_REPLAYED"), "signed no later than what came: {answer:?}");
        }
        // A sender that tries again signs again.
        assert_eq!(attempt(newest).send(door(server)).await.status, 204, "its sender need not try once more");
        let answer = attempt(newest).send(door(server)).await;
        assert_eq!(answer.told(), (409, "WEBHOOK_REPLAYED"), "a copy of the retry: {answer:?}");
        for server in &replicas {
            server.settle().await;
        }
        assert_eq!(tier(server, "a").await, CacheTier::L1, "the copy stays");
    }
    assert_eq!(logged(database).await, ["product:a"]);
    // One that was not heard of.
    assert_eq!(Delivery::new("n", &changed(&["a"])).send(door(&replicas[1])).await.status, 204);
    assert_eq!(logged(database).await, ["product:a", "product:a"]);
    for server in replicas {
        server.stop().await;
    }
}

async fn an_id_is_for_one_event(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    assert_eq!(Delivery::new("m", &changed(&["a"])).send(door(&replicas[0])).await.status, 204);
    for server in &replicas {
        for signed in [now() - 1, now() + 10] {
            let answer = Delivery::signed("m", signed, &changed(&["b"]), &[SECRET]).send(door(server)).await;
            assert_eq!(answer.told(), (409, "WEBHOOK_ID_REUSED"), "{answer:?}");
        }
    }
    assert_eq!(logged(database).await, ["product:a"]);
    // The ids of calls are other ids.
    let request = larder_proto::catalog::CreateProductRequest {
        product: Some(product("c")),
        request_id: "m".to_owned(),
        ..Default::default()
    };
    replicas[0].client().create_product(request).await.expect("a request id that was not used");
    for server in replicas {
        server.stop().await;
    }
}

async fn of_the_same_message_on_all_replicas_at_once_one_is_taken(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    for round in 0..4 {
        let id = format!("m{round}");
        let mut told = at_once(&replicas, 16, |_| Delivery::signed(&id, now(), &changed(&[&id]), &[SECRET])).await;
        told.sort_unstable();
        let mut expected = vec![(409, "WEBHOOK_REPLAYED".to_owned()); 15];
        expected.insert(0, (204, String::new()));
        assert_eq!(told, expected);
    }
    assert_eq!(logged(database).await, ["product:m0", "product:m1", "product:m2", "product:m3"]);
    for server in replicas {
        server.stop().await;
    }
}

async fn retries_at_once_have_no_effect(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    let begun = now();
    let attempt = |number| Delivery::signed("m", begun + number, &changed(&["a", "b"]), &[SECRET]);
    let told = at_once(&replicas, 16, attempt).await;
    // Which of them overtake which is open. The one that was signed last is taken in any case.
    assert!(told.iter().all(|told| *told == (204, String::new()) || *told == (409, "WEBHOOK_REPLAYED".to_owned())));
    assert_eq!(told[15].0, 204, "{told:?}");
    assert_eq!(attempt(16).send(door(&replicas[0])).await.status, 204);
    assert_eq!(logged(database).await, ["product:a", "product:b"]);
    for server in replicas {
        server.stop().await;
    }
}

/// Sends so many deliveries to replicas in turn, all at once. Returns what was answered to each.
async fn at_once(replicas: &[Server], count: u64, delivery: impl Fn(u64) -> Delivery) -> Vec<(u16, String)> {
    let doors = replicas.iter().map(door).cycle();
    let sent: Vec<_> = (0..count)
        .zip(doors)
        .map(|(number, door)| {
            let delivery = delivery(number);
            tokio::spawn(async move { delivery.send(door).await })
        })
        .collect();
    let mut told = Vec::new();
    for answer in sent {
        let answer = answer.await.expect("an answer");
        let (status, reason) = answer.told();
        told.push((status, reason.to_owned()));
    }
    told
}

#[tokio::test]
async fn while_the_database_is_away_a_sender_is_asked_to_try_again() {
    let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let database = Database::on(Arc::clone(&postgres)).await;
    let server = replica(&database, &[SECRET]).await;
    server.create(product("a")).await;
    let delivery = Delivery::new("m", &changed(&["a"]));
    let killed = Arc::clone(&postgres);
    tokio::task::spawn_blocking(move || killed.kill()).await.expect("PostgreSQL to be killed");
    for _ in 0..3 {
        let answer = delivery.send(door(&server)).await;
        assert_eq!(answer.told(), (503, "DATABASE_UNAVAILABLE"), "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    postgres.restart().await;
    // Nothing of it was remembered: the very same message is taken.
    crate::harness::eventually("the event to be taken", async || delivery.send(door(&server)).await.status == 204)
        .await;
    assert_eq!(delivery.send(door(&server)).await.told(), (409, "WEBHOOK_REPLAYED"));
    assert_eq!(logged(&database).await, ["product:a"], "the attempts that failed used up no id, and left nothing");
    server.stop().await;
}
