//! What becomes of the messages of a channel.

use std::time::{Duration, Instant};

use larder_test_servers::{Faults, Reply};

use crate::{NONE, SILENCE, client, messages, proxied, publish, pushed, subscriber, text};

#[tokio::test]
async fn without_faults_both_protocols_pass() {
    let (redis, proxy) = proxied().await;
    for protocol in ["2", "3"] {
        let mut client = subscriber(&proxy, protocol).await;
        publish(&redis, &["a", "b", "c"]).await;
        assert_eq!(messages(&mut client, 3).await, ["a", "b", "c"]);
        let pong = client.call(&["PING", "x"]).await.unwrap();
        assert!(pong.text().ends_with('x'), "{pong:?}");
        assert_eq!(pushed(&client.call(&["UNSUBSCRIBE"]).await.unwrap()), "unsubscribe\nc\n0");
        assert_eq!(client.call(&["ECHO", "still in step"]).await.unwrap(), text("still in step"));
    }
    assert_eq!((proxy.counts().pushes, proxy.counts().replies), (6, 10));
}

#[tokio::test]
async fn pushes_are_dropped_while_replies_pass() {
    for protocol in ["2", "3"] {
        // One for each: the last subscriber of another may still be served.
        let (redis, proxy) = proxied().await;
        let mut client = subscriber(&proxy, protocol).await;
        proxy.set(Faults { push_drop: 1.0, ..NONE });
        let before = proxy.counts().pushes_dropped;
        publish(&redis, &["lost", "lost"]).await;
        proxy.wait_until("dropped pushes", |proxy| proxy.counts().pushes_dropped == before + 2).await;
        assert!(client.call(&["PING", "x"]).await.unwrap().text().ends_with('x'));
        proxy.set(NONE);
        publish(&redis, &["kept"]).await;
        assert_eq!(messages(&mut client, 1).await, ["kept"]);
    }
}

#[tokio::test]
async fn some_are_dropped_with_a_probability() {
    let (redis, proxy) = proxied().await;
    let mut client = subscriber(&proxy, "3").await;
    proxy.set(Faults { push_drop: 0.5, ..NONE });
    publish(&redis, &["m"; 200]).await;
    proxy.wait_until("200 pushes", |proxy| proxy.counts().pushes == 200).await;
    let dropped = proxy.counts().pushes_dropped;
    assert!((50..150).contains(&dropped), "{dropped} of 200 at a half");
    messages(&mut client, usize::try_from(200 - dropped).unwrap()).await;
    assert_eq!(client.next_within(SILENCE).await.unwrap(), None);
}

#[tokio::test]
async fn pushes_come_late_and_replies_overtake_them() {
    let (redis, proxy) = proxied().await;
    let mut client = subscriber(&proxy, "3").await;
    let delay = Duration::from_millis(300);
    proxy.set(Faults { push_delay: delay, ..NONE });
    let begin = Instant::now();
    publish(&redis, &["a", "b"]).await;
    proxy.wait_until("late pushes", |proxy| proxy.counts().pushes_delayed == 2).await;
    assert_eq!(client.call(&["PING"]).await.unwrap(), text("PONG"));
    assert_eq!(messages(&mut client, 2).await, ["a", "b"]);
    assert!(begin.elapsed() >= delay, "after {:?}", begin.elapsed());
}

#[tokio::test]
async fn pushes_come_twice() {
    let (redis, proxy) = proxied().await;
    let mut client = subscriber(&proxy, "2").await;
    proxy.set(Faults { push_duplicate: 1.0, ..NONE });
    publish(&redis, &["a", "b"]).await;
    assert_eq!(messages(&mut client, 4).await, ["a", "a", "b", "b"]);
    assert_eq!(proxy.counts().pushes_duplicated, 2);
}

#[tokio::test]
async fn pushes_change_places() {
    let (redis, proxy) = proxied().await;
    let mut client = subscriber(&proxy, "3").await;
    proxy.set(Faults { push_swap: 1.0, ..NONE });
    publish(&redis, &["a", "b", "c", "d"]).await;
    assert_eq!(messages(&mut client, 4).await, ["b", "a", "d", "c"]);
    // The last one comes, too, with nothing behind it.
    publish(&redis, &["e"]).await;
    assert_eq!(messages(&mut client, 1).await, ["e"]);
    assert_eq!(proxy.counts().pushes_swapped, 3);
}

#[tokio::test]
async fn a_black_hole_for_pushes_lets_replies_through() {
    let (redis, proxy) = proxied().await;
    let mut client = subscriber(&proxy, "2").await;
    proxy.set(Faults { push_black_hole: true, ..NONE });
    publish(&redis, &["lost"]).await;
    proxy.wait_until("a swallowed push", |proxy| proxy.counts().swallowed == 1).await;
    assert_eq!(client.call(&["PING", "x"]).await.unwrap().text(), "pong\nx");
    proxy.set(NONE);
    publish(&redis, &["kept"]).await;
    assert_eq!(messages(&mut client, 1).await, ["kept"]);
}

#[tokio::test]
async fn a_black_hole_for_subscribers_swallows_everything() {
    let (redis, proxy) = proxied().await;
    for protocol in ["2", "3"] {
        let (mut hurt, mut spared) = (subscriber(&proxy, protocol).await, client(&proxy).await);
        proxy.set(Faults { subscriber_black_hole: true, ..NONE });
        publish(&redis, &["lost"]).await;
        hurt.send(&["PING"]).await.unwrap();
        assert_eq!(hurt.next_within(SILENCE).await.unwrap(), None);
        assert_eq!(spared.call(&["PING"]).await.unwrap(), text("PONG"));
        // It would be out of step.
        proxy.set(NONE);
        publish(&redis, &["lost"]).await;
        assert_eq!(hurt.next_within(SILENCE).await.unwrap(), None);
    }
    proxy.wait_until("forgotten connections", |proxy| proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_black_hole_hides_the_end_of_the_server() {
    let (redis, proxy) = proxied().await;
    let mut hurt = subscriber(&proxy, "3").await;
    proxy.set(Faults { subscriber_black_hole: true, ..NONE });
    redis.kill();
    assert_eq!(hurt.next_within(SILENCE).await.unwrap(), None);
    assert_eq!(proxy.cut_subscribers(), 1);
    hurt.next().await.expect_err("a connection that was cut");
}

#[tokio::test]
async fn channels_with_a_pattern_and_several_at_once_stay_in_step() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.send(&["SUBSCRIBE", "c", "d"]).await.unwrap();
    client.send(&["PSUBSCRIBE", "e*"]).await.unwrap();
    for expected in ["subscribe\nc\n1", "subscribe\nd\n2", "psubscribe\ne*\n3"] {
        assert_eq!(pushed(&client.next().await.unwrap()), expected);
    }
    proxy.set(Faults { push_duplicate: 1.0, ..NONE });
    redis.cli(&["PUBLISH", "elm", "x"]).await;
    for _ in 0..2 {
        assert_eq!(pushed(&client.next().await.unwrap()), "pmessage\ne*\nelm\nx");
    }
    // In RESP2 a connection that has subscribed may not ask this.
    let refused = client.call(&["GET", "k"]).await.unwrap();
    assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
}
