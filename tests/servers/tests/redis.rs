//! Redis servers: they are there, lose and keep what they should, and hang when told to.

use std::time::Duration;

use larder_test_servers::{Redis, RedisOptions, Reply};

#[tokio::test]
async fn every_server_of_this_machine_answers() {
    let binaries = Redis::binaries();
    assert!(binaries.iter().any(|binary| binary.name == "redis"), "{binaries:?}");
    for binary in binaries {
        let server = Redis::start(RedisOptions { binary: Some(binary.clone()), ..RedisOptions::default() }).await;
        assert_eq!(server.binary(), &binary);
        assert_eq!(server.cli(&["SET", "k", "two words"]).await, "OK");
        assert_eq!(server.cli(&["MGET", "k", "none", "k"]).await, "two words\n\ntwo words");
        let error = server.try_cli(&["INCR", "k"]).await.unwrap_err();
        assert!(error.contains("not an integer"), "{error}");
    }
}

#[tokio::test]
async fn a_server_comes_back_on_its_port_empty() {
    let server = Redis::start(RedisOptions::default()).await;
    let port = server.port();
    server.cli(&["SET", "k", "v"]).await;
    assert!(server.runs());
    server.kill();
    assert!(!server.runs());
    assert!(server.try_cli(&["PING"]).await.is_err(), "a killed server answered");
    server.restart().await;
    assert_eq!((server.port(), server.cli(&["DBSIZE"]).await.as_str()), (port, "0"));
    server.cli(&["SET", "k", "v"]).await;
    server.shutdown();
    server.restart().await;
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn an_old_copy_is_put_back() {
    let server = Redis::start(RedisOptions::default()).await;
    server.cli(&["SET", "k", "old"]).await;
    let copy = server.save_copy().await;
    server.cli(&["SET", "k", "new"]).await;
    server.restart_with(&copy).await;
    assert_eq!(server.cli(&["GET", "k"]).await, "old");
    server.restart_with(&copy).await;
    assert_eq!(server.cli(&["GET", "k"]).await, "old");
    let other = Redis::start(RedisOptions::default()).await;
    other.restart_with(&copy).await;
    assert_eq!(other.cli(&["GET", "k"]).await, "old");
    server.restart().await;
    assert_eq!(server.cli(&["GET", "k"]).await, "");
}

#[tokio::test]
async fn settings_count() {
    let settings = [("maxmemory", "5mb"), ("save", "3600 1"), ("maxmemory-policy", "allkeys-lru")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server = Redis::start(RedisOptions { settings, ..RedisOptions::default() }).await;
    assert_eq!(server.cli(&["CONFIG", "GET", "maxmemory"]).await, "maxmemory\n5242880");
    // One that saves has its data still after an orderly end.
    server.cli(&["SET", "k", "v"]).await;
    server.shutdown();
    server.restart_kept().await;
    assert_eq!(server.cli(&["GET", "k"]).await, "v");
    server.cli(&["SET", "k", "lost"]).await;
    server.kill();
    server.restart_kept().await;
    assert_eq!(server.cli(&["GET", "k"]).await, "v");
}

#[tokio::test]
async fn a_paused_server_answers_when_it_goes_on() {
    let server = Redis::start(RedisOptions::default()).await;
    let mut client = server.client().await;
    server.pause();
    client.send(&["PING"]).await.unwrap();
    assert_eq!(client.next_within(Duration::from_millis(200)).await.unwrap(), None);
    assert!(server.runs());
    server.resume();
    assert_eq!(client.next().await.unwrap(), Reply::Text("PONG".to_owned()));
    server.wait_ready().await;
    // It can be killed and dropped as well.
    server.pause();
    server.restart().await;
    server.pause();
}

#[tokio::test]
async fn no_process_stays_behind() {
    let server = Redis::start(RedisOptions::default()).await;
    let address = server.address();
    server.pause();
    drop(server);
    assert!(std::net::TcpStream::connect(address).is_err(), "somebody still listens");
}

#[tokio::test]
async fn a_port_that_is_taken_for_a_while_is_waited_for() {
    let server = Redis::start(RedisOptions::default()).await;
    server.kill();
    let listener = std::net::TcpListener::bind(server.address()).unwrap();
    tokio::join!(server.restart(), async {
        while !server.log().contains("Address already in use") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(listener);
    });
    assert_eq!(server.cli(&["PING"]).await, "PONG");
}
