//! Commands that are taken out of what passes.

use crate::{SILENCE, client, messages, proxied, publish, subscriber, text};

#[tokio::test]
async fn a_message_that_is_caught_is_lost_with_everything_behind_it() {
    let (redis, proxy) = proxied().await;
    let (mut sender, mut listener) = (client(&proxy).await, subscriber(&proxy, "3").await);
    let caught = proxy.catch_publish();
    assert_eq!(sender.call(&["SET", "k", "before"]).await.unwrap(), text("OK"), "something else passes");
    for words in [&["PUBLISH", "c", "lost"][..], &["SET", "k", "behind"]] {
        sender.send(words).await.unwrap();
    }
    assert!(caught.caught().await);
    assert_eq!(sender.next_within(SILENCE).await.unwrap(), None);
    assert_eq!(redis.cli(&["GET", "k"]).await, "before");
    client(&proxy).await.send(&["PUBLISH", "c", "another"]).await.unwrap();
    assert_eq!(messages(&mut listener, 1).await, ["another"], "only one is caught");
    drop(proxy.catch_publish());
    publish(&redis, &["direct"]).await;
    assert_eq!(client(&proxy).await.call(&["PUBLISH", "c", "wanted by nobody"]).await.unwrap(), text("1"));
    assert_eq!(messages(&mut listener, 2).await, ["direct", "wanted by nobody"]);
}

#[tokio::test]
async fn a_value_that_is_held_back_is_answered_in_its_turn_and_set_late() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    let held = proxy.hold_set("key");
    // The commands of one pipeline; a lease and another key are not meant.
    for words in [
        &["SET", "p:key", "lease", "NX"][..],
        &["SET", "p:other-key", "other"],
        &["SET", "p:key", "late", "PX", "60000"],
        &["GET", "p:key"],
    ] {
        client.send(words).await.unwrap();
    }
    for answer in ["OK", "OK", "OK", "lease"] {
        assert_eq!(client.next().await.unwrap(), text(answer));
    }
    let late = held.taken().await.expect("a command");
    assert_eq!(client.call(&["SET", "p:key", "new"]).await.unwrap(), text("OK"), "only one is held back");
    late.release().await.expect("Redis takes it");
    assert_eq!(redis.cli(&["GET", "p:key"]).await, "late");
    assert_eq!(redis.cli(&["GET", "p:other-key"]).await, "other");
}

#[tokio::test]
async fn a_value_that_is_never_let_go_never_comes() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    let held = proxy.hold_set("key");
    assert_eq!(client.call(&["SET", "p:key", "lost"]).await.unwrap(), text("OK"));
    drop(held.taken().await);
    assert_eq!(redis.cli(&["EXISTS", "p:key"]).await, "0");
    drop(proxy.hold_set("key"));
    assert_eq!(client.call(&["SET", "p:key", "v"]).await.unwrap(), text("OK"));
    assert_eq!(redis.cli(&["GET", "p:key"]).await, "v", "nobody wants it held back any more");
}
