//! What is taken from a webhook, and what is refused.

use http::Method;
use larder_proto::catalog::CacheTier;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, timeout},
};

use super::{
    logged,
    sender::{Delivery, SECRET, changed, door, now, replica, replica_with},
    tier, warm,
};
use crate::{
    harness::{Database, Receiver, Span, eventually, on_both_databases, product},
    traces::export_to,
};

on_both_databases!(
    an_event_drops_the_copy_on_every_replica,
    each_type_of_event_has_its_effect,
    a_webhook_is_a_span_that_its_invalidations_are_linked_to,
);

async fn an_event_drops_the_copy_on_every_replica(database: &Database) {
    let (one, other) = (replica(database, &[SECRET]).await, replica(database, &[SECRET]).await);
    for id in ["a", "b"] {
        one.create(product(id)).await;
    }
    for id in ["a", "b"] {
        warm(&one, id).await;
        warm(&other, id).await;
    }
    let answer = Delivery::new("m1", &changed(&["a"])).send(door(&one)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(
        tier(&one, "a").await,
        CacheTier::Database,
        "the replica that took it has learned of it before it answered"
    );
    other.settle().await;
    assert_eq!(tier(&other, "a").await, CacheTier::Database);
    assert_eq!(tier(&one, "b").await, CacheTier::L1, "another product");
    assert_eq!(tier(&other, "b").await, CacheTier::L1);
    for server in [one, other] {
        server.stop().await;
    }
}

async fn a_webhook_is_a_span_that_its_invalidations_are_linked_to(database: &Database) {
    let receiver = Receiver::start().await;
    let traced = || replica_with(database, &[SECRET], |config| export_to(config, receiver.address));
    let (one, other) = (traced().await, traced().await);
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    let parent = format!("00-{trace:032x}-b7ad6b7169203331-01");
    let answer = Delivery::new("m1", &changed(&["a"])).with("traceparent", &parent).send(door(&one)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let post =
        receiver.span("the span of the webhook", |span| span.is("POST /webhooks/events", SpanKind::Server)).await;
    assert!(post.is_in(trace), "{post:?}");
    assert_eq!(post.text("http.response.status_code").as_deref(), Some("204"));
    let insert = |span: &Span| span.is("INSERT changes", SpanKind::Client) && span.is_child_of(&post);
    receiver.span("the span of its statement", insert).await;
    let linked = |span: &Span| span.is_linked_to(&post) && span.instance != post.instance;
    receiver.span("the span of the invalidation on the other replica", linked).await;

    let refused = Delivery::new("m2", &changed(&["a"])).with("webhook-signature", "v1,none").send(door(&one)).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let status = |span: &Span| span.text("http.response.status_code").as_deref() == Some("401");
    let refused = receiver.span("the span of the refusal", status).await;
    assert_eq!(refused.span.status, None, "it is no failure of the server");
    for server in [one, other] {
        server.stop().await;
    }
}

async fn each_type_of_event_has_its_effect(database: &Database) {
    let server = replica(database, &[SECRET]).await;
    server.create(product("a")).await;
    let events = [
        r#"{"type":"product.created","data":{"ids":["a"]}}"#,
        r#"{"type":"product.changed","timestamp":"2026-01-01T00:00:00Z","data":{"ids":["z","a"],"more":{}}}"#,
        r#"{"type":"product.deleted","data":{"ids":["a"]}}"#,
        r#"{"type":"tag.invalidated","data":{"tags":["copper"]}}"#,
        r#"{"type":"category.invalidated","data":{"categories":["kitchen"]}}"#,
        r#"{"type":"key.invalidated","data":{"keys":["product:a"]}}"#,
        r#"{"type":"pattern.invalidated","data":{"pattern":"product:[a-c]"}}"#,
        r#"{"type":"all.invalidated"}"#,
    ];
    for (number, event) in events.into_iter().enumerate() {
        warm(&server, "a").await;
        let answer = Delivery::new(&format!("m{number}"), event).send(door(&server)).await;
        assert_eq!(answer.status, 204, "{event}: {answer:?}");
        let told = server.get("a").await.cache.expect("facts about the copy");
        assert_eq!(told.tier(), CacheTier::Database, "{event}: {told:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_genuine_or_not_right_is_refused_and_has_no_effect() {
    let database = Database::sqlite();
    let server = replica(&database, &[SECRET]).await;
    server.create(product("a")).await;
    warm(&server, "a").await;
    let rows = database.shell("SELECT count(*) FROM changes").await;
    let body = changed(&["a"]);
    let good = || Delivery::new("m", &body);
    let at = |seconds| Delivery::signed("m", seconds, &body, &[SECRET]);
    let event = |event: &str| Delivery::new("m", event);
    let with_body = |text: &str| Delivery { body: text.to_owned(), ..good() };
    let large = format!(r#"{{"type":"all.invalidated","x":"{}"}}"#, "x".repeat(256 << 10));
    let many = format!(r#"{{"type":"product.changed","data":{{"ids":[{}"a"]}}}}"#, r#""a","#.repeat(1_000));
    let cases = [
        ("an altered body", with_body(&changed(&["a", "b"])), 401, "SIGNATURE_INVALID"),
        ("a body with one space more", with_body(&format!("{body} ")), 401, "SIGNATURE_INVALID"),
        ("an altered id", good().with("webhook-id", "n"), 401, "SIGNATURE_INVALID"),
        ("an altered time", good().with("webhook-timestamp", &(now() - 7).to_string()), 401, "SIGNATURE_INVALID"),
        (
            "another key",
            Delivery::signed("m", now(), &body, &[b"another secret of some length"]),
            401,
            "SIGNATURE_INVALID",
        ),
        ("no signature of the version", good().with("webhook-signature", "v1a,AAAA"), 401, "SIGNATURE_INVALID"),
        ("an old time", at(now() - 310), 401, "TIMESTAMP_TOO_OLD"),
        ("a time to come", at(now() + 310), 401, "TIMESTAMP_TOO_NEW"),
        ("a time that is none", good().with("webhook-timestamp", "soon"), 401, "TIMESTAMP_INVALID"),
        ("no id", good().without("webhook-id"), 401, "HEADER_MISSING"),
        ("no time", good().without("webhook-timestamp"), 401, "HEADER_MISSING"),
        ("no signature", good().without("webhook-signature"), 401, "HEADER_MISSING"),
        ("an id with a full stop", Delivery::new("a.b", &body), 401, "WEBHOOK_ID_INVALID"),
        ("a body too large", event(&large), 413, "BODY_TOO_LARGE"),
        ("nothing", event(""), 400, "INVALID_EVENT"),
        ("no JSON", event("{\"type\":"), 400, "INVALID_EVENT"),
        ("no type", event(r#"{"data":{"ids":["a"]}}"#), 400, "INVALID_EVENT"),
        ("an unknown type", event(r#"{"type":"order.placed","data":{"ids":["a"]}}"#), 400, "INVALID_EVENT"),
        ("no data", event(r#"{"type":"product.changed"}"#), 400, "INVALID_EVENT"),
        ("no ids", event(r#"{"type":"product.changed","data":{"ids":[]}}"#), 400, "INVALID_EVENT"),
        ("too many ids", event(&many), 400, "INVALID_EVENT"),
        ("an id that is none", event(&changed(&["a", "a b"])), 400, "INVALID_EVENT"),
        ("a tag that is none", event(r#"{"type":"tag.invalidated","data":{"tags":[""]}}"#), 400, "INVALID_EVENT"),
        (
            "a category that is none",
            event(r#"{"type":"category.invalidated","data":{"categories":[""]}}"#),
            400,
            "INVALID_EVENT",
        ),
        ("a key that is none", event(r#"{"type":"key.invalidated","data":{"keys":["x:y"]}}"#), 400, "INVALID_EVENT"),
        (
            "a pattern that is none",
            event(r#"{"type":"pattern.invalidated","data":{"pattern":"[a"}}"#),
            400,
            "INVALID_EVENT",
        ),
        ("another method", Delivery { method: Method::GET, ..good() }, 405, "METHOD_NOT_ALLOWED"),
        ("another path", Delivery { path: "/webhooks".to_owned(), ..good() }, 404, "NOT_FOUND"),
    ];
    for (what, delivery, status, reason) in cases {
        let answer = delivery.send(door(&server)).await;
        assert_eq!(answer.told(), (status, reason), "{what}: {answer:?}");
        assert!(answer.body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {answer:?}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{what}");
        assert_eq!(answer.headers.get("allow").is_some_and(|allow| allow == "POST"), status == 405, "{what}");
    }
    let answer = event(&changed(&["a", "a b", ""])).send(door(&server)).await;
    let told = answer.body["violations"].as_array().expect("the broken rules");
    let fields: Vec<_> = told.iter().map(|broken| broken["field"].as_str().expect("a field")).collect();
    assert_eq!(fields, ["data.ids[1]", "data.ids[2]"]);

    server.settle().await;
    assert_eq!(tier(&server, "a").await, CacheTier::L1, "no copy was dropped");
    assert_eq!(database.shell("SELECT count(*) FROM changes").await, rows, "nothing was asked for");
    assert_eq!(database.shell("SELECT count(*) FROM requests").await, "0", "no id was used up");
    assert_eq!(good().send(door(&server)).await.status, 204, "and nothing is the worse for it");
    server.stop().await;
}

#[tokio::test]
async fn while_keys_are_changed_both_are_right() {
    let database = Database::sqlite();
    let (old, new) = (&[1; 24][..], &[2; 64][..]);
    let before = replica(&database, &[old]).await;
    let during = replica(&database, &[old, new]).await;
    let after = replica(&database, &[new]).await;
    let by = |id: &str, secrets: &[&[u8]]| Delivery::signed(id, now(), &changed(&["a"]), secrets);
    for (server, id, secrets, status) in [
        (&before, "1", &[old][..], 204),
        (&before, "2", &[new], 401),
        (&during, "3", &[old], 204),
        (&during, "4", &[new], 204),
        (&during, "5", &[new, old], 204),
        (&after, "6", &[old], 401),
        (&after, "7", &[new], 204),
        (&after, "8", &[old, new], 204),
        (&during, "9", &[SECRET], 401),
    ] {
        let answer = by(id, secrets).send(door(server)).await;
        assert_eq!(answer.status, status, "{id}: {answer:?}");
    }
    assert_eq!(logged(&database).await.len(), 6);
    for server in [before, during, after] {
        server.stop().await;
    }
}

#[tokio::test]
async fn without_a_secret_there_are_no_webhooks() {
    let server = replica(&Database::sqlite(), &[]).await;
    let answer = Delivery::new("m", &changed(&["a"])).send(door(&server)).await;
    assert_eq!(answer.told(), (404, "NOT_FOUND"));
    server.stop().await;
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_server_from_ending() {
    let server = replica_with(&Database::sqlite(), &[SECRET], |config| {
        config.server.deadlines.drain = Duration::from_mins(2);
    })
    .await;
    let mut silent = TcpStream::connect(door(&server)).await.expect("a connection");
    let mut halting = TcpStream::connect(door(&server)).await.expect("a connection");
    halting.write_all(b"POST /webhooks/events HTTP/1.1\r\nhost: x\r\n").await.expect("half a request");
    let mut kept = TcpStream::connect(door(&server)).await.expect("a connection");
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a request");
    let mut read = [0; 512];
    assert!(kept.read(&mut read).await.expect("an answer") > 0);
    timeout(Duration::from_mins(1), server.stop()).await.expect("an end before that of the time to drain");
    for connection in [&mut silent, &mut halting, &mut kept] {
        let ended = connection.read(&mut read).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn the_file_with_the_addresses_names_the_door() {
    let directory = larder_test_servers::TempDir::new("addresses");
    let file = directory.join("addresses.json");
    let path = file.clone();
    let server = crate::harness::Server::start_with(&Database::sqlite(), |config| {
        config.events.webhook.secrets = vec![larder_server::config::WebhookSecret::new(SECRET)];
        config.server.addresses_file = Some(path);
    })
    .await;
    eventually("the file", async || file.exists()).await;
    let text = std::fs::read_to_string(&file).expect("the file");
    let addresses: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(addresses["http"], door(&server).to_string());
    server.stop().await;
}
