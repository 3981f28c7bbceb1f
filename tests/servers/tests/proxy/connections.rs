//! What becomes of connections as such.

use larder_test_servers::{Faults, Proxy, Redis, RedisClient, RedisOptions};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{NONE, client, proxied, subscriber, text};

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_stay() {
    let (_redis, proxy) = proxied().await;
    let mut old = client(&proxy).await;
    old.call(&["PING"]).await.unwrap();
    proxy.set(Faults { refuse: 1.0, ..NONE });
    let new = async { RedisClient::connect(proxy.address()).await?.call(&["PING"]).await };
    new.await.expect_err("a connection that was refused");
    assert_eq!(old.call(&["PING"]).await.unwrap(), text("PONG"));
    assert_eq!((proxy.counts().refused, proxy.counts().connections), (1, 1));
    proxy.set(NONE);
    assert_eq!(client(&proxy).await.call(&["PING"]).await.unwrap(), text("PONG"));
}

#[tokio::test]
async fn subscribers_are_cut_alone_or_all_are() {
    let (_redis, proxy) = proxied().await;
    let (mut listens, mut asks) = (subscriber(&proxy, "2").await, client(&proxy).await);
    asks.call(&["PING"]).await.unwrap();
    assert_eq!((proxy.connections(), proxy.subscribers()), (2, 1));
    assert_eq!(proxy.cut_subscribers(), 1);
    listens.next().await.expect_err("a connection that was cut");
    assert_eq!(asks.call(&["PING"]).await.unwrap(), text("PONG"));
    proxy.wait_until("one connection", |proxy| proxy.connections() == 1).await;
    assert_eq!((proxy.cut_subscribers(), proxy.cut_all()), (0, 1));
    asks.next().await.expect_err("a connection that was cut");
    assert_eq!(proxy.counts().cut, 2);
}

#[tokio::test]
async fn the_end_of_the_server_ends_its_connections_and_others_may_follow() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.call(&["PING"]).await.unwrap();
    redis.kill();
    client.next().await.expect_err("a connection without a server");
    let mut early = crate::client(&proxy).await;
    early.call(&["PING"]).await.expect_err("nobody behind the proxy");
    redis.restart().await;
    assert_eq!(crate::client(&proxy).await.call(&["PING"]).await.unwrap(), text("PONG"));

    let other = Redis::start(RedisOptions::default()).await;
    other.cli(&["SET", "who", "the other"]).await;
    proxy.redirect(other.address());
    assert_eq!(crate::client(&proxy).await.call(&["GET", "who"]).await.unwrap(), text("the other"));
}

#[tokio::test]
async fn what_is_not_resp_ends_the_connection() {
    let (_redis, proxy) = proxied().await;
    let mut stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"PING\r\n\r\nECHO typed\r\n").await.unwrap();
    let mut answer = [0; 18];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n$5\r\ntyped\r\n");
    stream.write_all(b"*1\r\n$x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_proxy_that_is_dropped_is_gone() {
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    client.call(&["PING"]).await.unwrap();
    let address = proxy.address();
    drop(proxy);
    client.next().await.expect_err("a connection without a proxy");
    let begin = std::time::Instant::now();
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(begin.elapsed().as_secs() < 10, "somebody still listens");
        tokio::task::yield_now().await;
    }
}

#[test]
#[should_panic(expected = "a probability is between 0 and 1")]
fn a_probability_is_one() {
    Proxy::start(([127, 0, 0, 1], 1).into()).set(Faults { replay: 1.5, ..NONE });
}
