//! Settings of the doors for events of other systems.

use std::{ops::RangeInclusive, time::Duration};

use base64::Engine as _;

use super::super::{
    Invalid,
    setting::{Secret, Setting},
    value,
};
use crate::events::{BASE64, WebhookSecret};

/// A message id is remembered for a day, and must be for longer than its message may come again.
const TOLERANCE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const MOST_SECRETS: usize = 8;

pub(super) const EVENTS: &[Setting] = &[
    Setting::new(
        "webhook-secrets",
        "LARDER_WEBHOOK_SECRETS",
        "none",
        "SECRETS",
        "The secrets of senders of webhooks, separated by commas: each whsec_ and 24 to 64 bytes in base64. A webhook may be signed \
         with any of them. Without any there are no webhooks. Better in the environment than on a command line.",
        |config, text| {
            config.events.webhook.secrets = value::optional(text, secrets)?.unwrap_or_default();
            Ok(())
        },
    )
    .secret(Secret::Whole)
    .computed("whsec_bGFyZGVyLWV4YW1wbGUtc2VjcmV0LTMyLWJ5dGVzIQ==", |_| Ok(None)),
    Setting::new(
        "http-listen",
        "LARDER_HTTP_LISTEN",
        "127.0.0.1:9464",
        "ADDRESS",
        "Where webhooks are received (POST /webhooks/events), over HTTP/1.1; only with webhook-secrets. Port 0: any free one.",
        |config, text| {
            config.events.http_listen = value::socket(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "webhook-tolerance",
        "LARDER_WEBHOOK_TOLERANCE",
        "5m",
        "DURATION",
        "How far the time at which a webhook was signed may be from now, in the past or the future.",
        |config, text| {
            config.events.webhook.tolerance = value::duration_in(text, TOLERANCE)?;
            Ok(())
        },
    ),
    Setting::new(
        "queue-stream",
        "LARDER_QUEUE_STREAM",
        "none",
        "NAME",
        "The Redis stream from which events are read; none: from none. What cannot be understood is put into the stream NAME:dead.",
        |config, text| {
            config.events.queue.stream = value::optional(text, name)?;
            Ok(())
        },
    ),
    Setting::new(
        "queue-group",
        "LARDER_QUEUE_GROUP",
        "larder",
        "NAME",
        "The consumer group: the same for the replicas of one catalogue, another one for another catalogue that reads the same \
         stream.",
        |config, text| {
            config.events.queue.group = name(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "queue-min-idle",
        "LARDER_QUEUE_MIN_IDLE",
        "30s",
        "DURATION",
        "An event that a replica has had in hand for so long is taken over by another one; longer than the database usually takes.",
        |config, text| {
            config.events.queue.min_idle =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_hours(24))?;
            Ok(())
        },
    ),
    Setting::new(
        "queue-max-deliveries",
        "LARDER_QUEUE_MAX_DELIVERIES",
        "10",
        "NUMBER",
        "An event that the database refuses is put aside when it has been delivered more often than this.",
        |config, text| {
            config.events.queue.max_deliveries = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
    ),
];

fn secrets(text: &str) -> Result<Vec<WebhookSecret>, Invalid> {
    let secrets: Vec<_> = text.split(',').map(secret).collect::<Result<_, _>>()?;
    if secrets.len() > MOST_SECRETS {
        return Err(Invalid::new("too many secrets", format!("write at most {MOST_SECRETS}")));
    }
    Ok(secrets)
}

fn secret(text: &str) -> Result<WebhookSecret, Invalid> {
    const HINT: &str = "write what this prints: echo \"whsec_$(openssl rand -base64 32)\"";
    let base64 = text.trim().strip_prefix("whsec_").ok_or_else(|| Invalid::new("a secret without whsec_", HINT))?;
    let bytes = BASE64.decode(base64).map_err(|_| Invalid::new("a secret that is not base64", HINT))?;
    if !(24..=64).contains(&bytes.len()) {
        return Err(Invalid::new(format!("a secret of {} bytes, not 24 to 64", bytes.len()), HINT));
    }
    Ok(WebhookSecret::new(bytes))
}

fn name(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new("not a name", "write 1 to 128 visible characters of ASCII"));
    }
    Ok(text.to_owned())
}
