//! Settings of webhooks and the queue of events.

use std::time::Duration;

use base64::Engine as _;

use super::super::{
    Invalid, WebhookSecret,
    events::BASE64,
    setting::{Default, Secret, Setting},
    value,
};

const MOST_SECRETS: usize = 8;

pub(super) const EVENTS: &[Setting] = &[
    Setting {
        key: "webhook-secrets",
        env: "LARDER_WEBHOOK_SECRETS",
        default: Default::Computed {
            words: "none",
            example: "whsec_bGFyZGVyLWV4YW1wbGUtc2VjcmV0LTMyLWJ5dGVzIQ==",
            compute: |_| Ok(None),
        },
        shape: "SECRETS",
        help: "The secrets of the senders of webhooks, separated by commas: each is whsec_ and 24 to 64 bytes in base64. A webhook \
               may be signed with any of them, within 5m of now. Without secrets there are no webhooks. An environment variable is \
               safer than a flag.",
        secret: Secret::Whole,
        set: |config, text| {
            config.events.webhook.secrets = value::optional(text, secrets)?.unwrap_or_default();
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "queue-stream",
        env: "LARDER_QUEUE_STREAM",
        shape: "NAME",
        help: "The Redis stream from which the replicas read events, as the consumer group that l2-prefix names. Entries that \
               cannot be understood go to the stream NAME:dead.",
        set: |config, text| {
            config.events.queue.stream = value::optional(text, name)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "queue-min-idle",
        env: "LARDER_QUEUE_MIN_IDLE",
        default: Default::Text("30s"),
        shape: "DURATION",
        help: "How long a replica may work on an event before another replica takes it over. Longer than the database usually \
               takes.",
        set: |config, text| {
            config.events.queue.min_idle =
                value::duration_in(text, Duration::from_millis(100)..=Duration::from_hours(24))?;
            Ok(())
        },
        ..Setting::BASE
    },
];

fn secrets(text: &str) -> Result<Vec<WebhookSecret>, Invalid> {
    let secrets: Vec<_> = text.split(',').map(secret).collect::<Result<_, _>>()?;
    if secrets.len() > MOST_SECRETS {
        return Err(Invalid::new("too many secrets", format!("write at most {MOST_SECRETS}")));
    }
    Ok(secrets)
}

fn secret(text: &str) -> Result<WebhookSecret, Invalid> {
    const HINT: &str = "write the output of: echo \"whsec_$(openssl rand -base64 32)\"";
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
