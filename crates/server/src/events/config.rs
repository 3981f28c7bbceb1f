//! What an operator decides about events of other systems.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Through which doors events come. [`Default`] gives the documented defaults: none is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// Where webhooks are received; with port 0 the system chooses one. Nobody listens while there is no secret.
    pub http_listen: SocketAddr,
    /// Who may send webhooks.
    pub webhook: WebhookConfig,
    /// From where messages are read.
    pub queue: QueueConfig,
}

/// Who may send webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The secrets with any of which a message may be signed: several while they are changed, none when there are no
    /// webhooks.
    pub secrets: Vec<WebhookSecret>,
    /// How far the time at which a message was signed may be from now, on either side.
    pub tolerance: Duration,
}

/// From where messages are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// The stream in Redis; `None` when there is no queue.
    pub stream: Option<String>,
    /// The consumer group that all replicas of a catalogue form.
    pub group: String,
    /// A message that has been with a consumer for so long without being acknowledged is taken over by another one. A consumer
    /// that was not heard of for 120 times as long is removed.
    pub min_idle: Duration,
    /// A message that the database refuses is given up when it has been delivered more often than this.
    pub max_deliveries: u64,
}

/// A secret that a sender of webhooks shares with the server. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Box<[u8]>);

impl WebhookSecret {
    /// A secret of the bytes given.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            webhook: WebhookConfig { secrets: Vec::new(), tolerance: Duration::from_mins(5) },
            queue: QueueConfig {
                stream: None,
                group: "larder".to_owned(),
                min_idle: Duration::from_secs(30),
                max_deliveries: 10,
            },
        }
    }
}
