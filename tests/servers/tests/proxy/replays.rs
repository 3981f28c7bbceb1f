//! Old values that come up again.

use std::time::Duration;

use larder_test_servers::{Faults, Proxy, Reply};

use crate::{NONE, client, proxied, text};

const REPLAY: Faults = Faults { replay: 1.0, ..NONE };

#[tokio::test]
async fn a_get_answers_with_an_older_value() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.call(&["SET", "k", "one", "PX", "60000"]).await.unwrap();
    client.call(&["SETEX", "k", "60", "two"]).await.unwrap();
    client.call(&["SET", "k", "three"]).await.unwrap();
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), text("three"));
    proxy.set(REPLAY);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let Reply::Text(value) = client.call(&["GET", "k"]).await.unwrap() else { panic!("no value") };
        assert!(["one", "two"].contains(&value.as_str()), "{value}");
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    assert!(proxy.counts().replayed >= 2);
    // Also when Redis has nothing, in either protocol; then the last one is an old one as well.
    redis.restart().await;
    for protocol in ["2", "3"] {
        let mut client = crate::client(&proxy).await;
        client.call(&["HELLO", protocol]).await.unwrap();
        let value = client.call(&["GET", "k"]).await.unwrap();
        assert!([text("one"), text("two"), text("three")].contains(&value), "{value:?}");
        assert_eq!(client.call(&["GET", "other"]).await.unwrap(), Reply::Nil);
    }
}

#[tokio::test]
async fn elements_of_an_mget_are_replaced_one_by_one() {
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    for protocol in ["2", "3"] {
        proxy.set(NONE);
        client.call(&["HELLO", protocol]).await.unwrap();
        client.call(&["MSET", "a", "old a", "b", "only b"]).await.unwrap();
        client.call(&["SET", "gone", "was here"]).await.unwrap();
        client.call(&["SET", "a", "new a"]).await.unwrap();
        client.call(&["DEL", "gone"]).await.unwrap();
        proxy.set(REPLAY);
        let reply = client.call(&["MGET", "a", "b", "never", "gone"]).await.unwrap();
        assert_eq!(reply, Reply::List(vec![text("old a"), text("only b"), Reply::Nil, text("was here")]));
    }
    assert_eq!(proxy.counts().replayed, 4);
}

#[tokio::test]
async fn only_what_is_old_enough_comes_up() {
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.call(&["SET", "k", "old"]).await.unwrap();
    client.call(&["SET", "k", "new"]).await.unwrap();
    proxy.set(Faults { replay_age: Duration::from_hours(1), ..REPLAY });
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), text("new"));
    proxy.set(REPLAY);
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), text("old"));
}

#[tokio::test]
async fn transactions_and_errors_are_left_alone() {
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.call(&["SET", "k", "old"]).await.unwrap();
    client.call(&["SET", "k", "new"]).await.unwrap();
    proxy.set(REPLAY);
    client.call(&["MULTI"]).await.unwrap();
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), text("QUEUED"));
    assert_eq!(client.call(&["EXEC"]).await.unwrap(), Reply::List(vec![text("new")]));
    client.call(&["DEL", "k"]).await.unwrap();
    client.call(&["LPUSH", "k", "x"]).await.unwrap();
    assert!(matches!(client.call(&["GET", "k"]).await.unwrap(), Reply::Error(_)));
}

#[tokio::test]
async fn proxies_beside_one_another_share_what_was_set() {
    let (redis, proxy) = proxied().await;
    let other = Proxy::start_beside(redis.address(), &proxy);
    client(&proxy).await.call(&["SET", "k", "old"]).await.unwrap();
    client(&proxy).await.call(&["DEL", "k"]).await.unwrap();
    other.set(REPLAY);
    assert_eq!(client(&other).await.call(&["GET", "k"]).await.unwrap(), text("old"));
    assert_eq!(client(&proxy).await.call(&["GET", "k"]).await.unwrap(), Reply::Nil);
}
