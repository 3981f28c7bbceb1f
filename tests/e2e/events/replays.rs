//! Webhooks that come more than once: each has its effect once, on whichever replica it comes.

use std::sync::Arc;

use larder_proto::catalog::CacheTier;
use larder_test_servers::{Postgres, PostgresOptions};

use super::{
    logged,
    sender::{Delivery, SECRET, changed, door, now, replica},
    tier, warm,
};
use crate::harness::{Database, on_both_databases, product};

on_both_databases!(
    a_message_that_comes_again_has_no_second_effect,
    an_id_is_for_one_event,
    a_message_that_comes_many_times_at_once_has_one_effect,
);

async fn a_message_that_comes_again_has_no_second_effect(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    replicas[0].create(product("a")).await;
    let first = Delivery::new("m", &changed(&["a"]));
    // A sender that tries again signs again.
    let again = Delivery::signed("m", now() + 1, &changed(&["a"]), &[SECRET]);
    assert_eq!(first.send(door(&replicas[0])).await.status, 204);
    for server in &replicas {
        warm(server, "a").await;
        for delivery in [&first, &again] {
            assert_eq!(delivery.send(door(server)).await.status, 204, "its sender need not try once more");
        }
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
        let answer = Delivery::new("m", &changed(&["b"])).send(door(server)).await;
        assert_eq!(answer.told(), (409, "WEBHOOK_ID_REUSED"), "{answer:?}");
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

async fn a_message_that_comes_many_times_at_once_has_one_effect(database: &Database) {
    let replicas = [replica(database, &[SECRET]).await, replica(database, &[SECRET]).await];
    let doors = [door(&replicas[0]), door(&replicas[1])];
    let deliveries = (0..32).map(|number| {
        let delivery = Delivery::new("m", &changed(&["a", "b"]));
        tokio::spawn(async move { delivery.send(doors[number % 2]).await.status })
    });
    for delivery in deliveries.collect::<Vec<_>>() {
        assert_eq!(delivery.await.expect("an answer"), 204);
    }
    assert_eq!(logged(database).await, ["product:a", "product:b"]);
    for server in replicas {
        server.stop().await;
    }
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
    crate::harness::eventually("the event to be taken", async || delivery.send(door(&server)).await.status == 204)
        .await;
    assert_eq!(delivery.send(door(&server)).await.status, 204);
    assert_eq!(logged(&database).await, ["product:a"], "the attempts that failed used up no id, and left nothing");
    server.stop().await;
}
