//! A sender of webhooks.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::harness::{Database, Server};

pub(crate) const SECRET: &[u8] = b"the secret that they share, really";

/// One delivery of an event.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Delivery {
    /// Signed now with the usual secret.
    pub(crate) fn new(id: &str, body: &str) -> Self {
        Self::signed(id, now(), body, &[SECRET])
    }

    /// Signed at a time, with each of some secrets.
    pub(super) fn signed(id: &str, seconds: u64, body: &str, secrets: &[&[u8]]) -> Self {
        let signatures: Vec<_> = secrets.iter().map(|secret| sign(secret, id, seconds, body)).collect();
        let headers = vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        Self { method: Method::POST, path: "/webhooks/events".to_owned(), headers, body: body.to_owned() }
    }

    /// Without one of its headers.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| *header != name);
        self
    }

    /// With another value of one of its headers.
    pub(super) fn with(self, name: &'static str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.headers.push((name, value.to_owned()));
        changed
    }

    /// Sends it on a connection of its own.
    pub(super) async fn send(&self, address: SocketAddr) -> Answer {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection for HTTP");
        // It ends with the sender.
        tokio::spawn(connection);
        let mut request = Request::builder().method(&self.method).uri(&self.path).header("host", address.to_string());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).expect("a request");
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
        Answer { status: head.status, headers: head.headers, body }
    }
}

impl Answer {
    /// The status and the reason.
    pub(super) fn told(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["reason"].as_str().unwrap_or_default())
    }
}

/// An event that products have changed.
pub(crate) fn changed(ids: &[&str]) -> String {
    serde_json::json!({ "type": "product.changed", "data": { "ids": ids } }).to_string()
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a sender signs at the time that it is")]
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// A replica that takes webhooks signed with any of some secrets.
pub(super) async fn replica(database: &Database, secrets: &[&[u8]]) -> Server {
    replica_with(database, secrets, |_| {}).await
}

/// The same, configured in other ways.
pub(super) async fn replica_with(
    database: &Database,
    secrets: &[&[u8]],
    change: impl FnOnce(&mut larder_server::config::Config),
) -> Server {
    Server::start_with(database, |config| {
        change(config);
        let secrets = secrets.iter().map(|&secret| larder_server::config::WebhookSecret::new(secret));
        config.events.webhook.secrets = secrets.collect();
    })
    .await
}

/// Where a replica takes webhooks.
pub(super) fn door(server: &Server) -> SocketAddr {
    server.http_address()
}

fn sign(secret: &[u8], id: &str, seconds: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(signature))
}
