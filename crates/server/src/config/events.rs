//! What an operator decides about events of other systems.

use std::{fmt, time::Duration};

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::constants;

/// Base64 as the specification of webhooks has it. The padding at the end may be missing, which harms nobody.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How events arrive. By [`Default`] none can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// Who may send webhooks.
    pub webhook: WebhookConfig,
    /// The queue from which messages are read.
    pub queue: QueueConfig,
}

/// Who may send webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The secrets; a message may be signed with any of them. There are several while a secret is replaced, and none when there
    /// are no webhooks.
    pub secrets: Vec<WebhookSecret>,
    /// How far the time of signing may be from now, on either side.
    pub tolerance: Duration,
}

/// The queue from which messages are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// The stream in Redis; `None` when there is no queue.
    pub stream: Option<String>,
    /// The consumer group that the replicas of a catalogue form; the prefix of the keys in Redis when it comes from
    /// [`resolve`](super::resolve).
    pub group: String,
    /// Another consumer takes a message over that has been with one for so long without an acknowledgement. A consumer that was
    /// silent for 120 times as long is removed.
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

    /// The key with which messages are signed.
    pub(crate) fn bytes(&self) -> &[u8] {
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
            webhook: WebhookConfig { secrets: Vec::new(), tolerance: constants::WEBHOOK_TOLERANCE },
            queue: QueueConfig {
                stream: None,
                group: "larder".to_owned(),
                min_idle: Duration::from_secs(30),
                max_deliveries: constants::QUEUE_MAX_DELIVERIES,
            },
        }
    }
}
