//! What becomes of the replies to commands.

use std::time::{Duration, Instant};

use larder_test_servers::Faults;

use crate::{NONE, SILENCE, client, messages, proxied, publish, subscriber, text};

#[tokio::test]
async fn replies_come_late_and_in_order() {
    const WORDS: u32 = 100;
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    let delay = Duration::from_millis(500);
    proxy.set(Faults { reply_delay: delay, ..NONE });
    let begin = Instant::now();
    for word in 0..WORDS {
        client.send(&["ECHO", &word.to_string()]).await.unwrap();
    }
    for word in 0..WORDS {
        assert_eq!(client.next().await.unwrap(), text(&word.to_string()));
        assert!(begin.elapsed() >= delay, "after {:?}", begin.elapsed());
    }
    assert!(begin.elapsed() < WORDS * delay, "the delays added up: {:?}", begin.elapsed());
    assert_eq!(proxy.counts().replies_delayed, u64::from(WORDS));
}

#[tokio::test]
async fn what_goes_into_a_black_hole_is_carried_out_and_never_answered() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    assert_eq!(client.call(&["PING"]).await.unwrap(), text("PONG"));
    proxy.set(Faults { reply_black_hole: 1.0, ..NONE });
    client.send(&["SET", "k", "v"]).await.unwrap();
    proxy.wait_until("a swallowed reply", |proxy| proxy.counts().swallowed == 1).await;
    assert_eq!(redis.cli(&["GET", "k"]).await, "v");
    // The connection stays silent; a new one does not.
    proxy.set(NONE);
    client.send(&["PING"]).await.unwrap();
    assert_eq!(client.next_within(SILENCE).await.unwrap(), None);
    assert_eq!(crate::client(&proxy).await.call(&["PING"]).await.unwrap(), text("PONG"));
}

#[tokio::test]
async fn a_black_hole_hides_the_end_of_the_server() {
    let (redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    proxy.set(Faults { reply_black_hole: 1.0, ..NONE });
    client.send(&["PING"]).await.unwrap();
    redis.kill();
    assert_eq!(client.next_within(SILENCE).await.unwrap(), None);
    client.send(&["PING"]).await.expect("a connection that seems to live");
}

#[tokio::test]
async fn faults_of_replies_spare_subscriptions() {
    let (redis, proxy) = proxied().await;
    for protocol in ["2", "3"] {
        let mut client = subscriber(&proxy, protocol).await;
        proxy.set(Faults { reply_black_hole: 1.0, reply_cut: 1.0, ..NONE });
        assert!(client.call(&["PING", "x"]).await.unwrap().text().ends_with('x'));
        assert_eq!(client.call(&["SUBSCRIBE", "d"]).await.unwrap().text(), "subscribe\nd\n2");
        publish(&redis, &["m"]).await;
        assert_eq!(messages(&mut client, 1).await, ["m"]);
        proxy.set(NONE);
    }
    assert_eq!(proxy.counts().swallowed, 0);
}

#[tokio::test]
async fn a_reply_is_cut_in_its_middle() {
    let (redis, proxy) = proxied().await;
    redis.cli(&["SET", "k", &"x".repeat(100)]).await;
    let mut client = client(&proxy).await;
    client.call(&["PING"]).await.unwrap();
    proxy.set(Faults { reply_cut: 1.0, ..NONE });
    client.call(&["GET", "k"]).await.expect_err("half a reply");
    let half = String::from_utf8_lossy(client.unfinished()).into_owned();
    assert!(half.starts_with("$100\r\nxxx") && half.len() == 54, "{half:?}");
    assert_eq!(proxy.counts().replies_cut, 1);
    proxy.wait_until("closed connection", |proxy| proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_large_reply_passes_whole() {
    let (_redis, proxy) = proxied().await;
    let mut client = client(&proxy).await;
    let large = "x".repeat(3 << 20);
    assert_eq!(client.call(&["SET", "k", &large]).await.unwrap(), text("OK"));
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), text(&large));
}
