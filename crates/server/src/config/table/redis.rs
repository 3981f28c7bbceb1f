//! Settings of the shared tier and the bus.

use std::{fmt::Write as _, ops::RangeInclusive, time::Duration};

use larder_cache::{WritePolicy, check_shared_url};

use super::super::{
    Invalid,
    setting::{Default, Known, Secret, Setting},
    value,
};

/// The address of Redis in parts, as some platforms give it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisParts {
    /// The host; without it the other parts have no effect.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// The number of the database.
    pub db: u32,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Password>,
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Bounds of the time that Redis may take to answer.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);

pub(super) const REDIS: &[Setting] = &[
    Setting {
        key: "redis-host",
        env: "REDIS_HOST",
        default: Default::Computed { words: "none", example: "127.0.0.1", compute: |_| Ok(None) },
        shape: "HOST",
        help: "The host of Redis or Valkey, when there is no redis-url.",
        set: |config, text| {
            config.redis.host = Some(host(text)?);
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "redis-port",
        env: "REDIS_PORT",
        default: Default::Text("6379"),
        shape: "PORT",
        help: "The port at redis-host.",
        set: |config, text| {
            // Kubernetes sets such a variable by itself beside a service of the name `redis`.
            if !text.trim().starts_with("tcp://") {
                config.redis.port = value::count(text, 1..=65_535)?;
            }
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "redis-db",
        env: "REDIS_DB",
        default: Default::Text("0"),
        shape: "NUMBER",
        help: "The database at redis-host.",
        set: |config, text| {
            config.redis.db = value::count(text, 0..=16_383)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "redis-username",
        env: "REDIS_USERNAME",
        default: Default::Computed { words: "none", example: "larder", compute: |_| Ok(None) },
        shape: "NAME",
        help: "The user at redis-host.",
        set: |config, text| {
            config.redis.username = Some(text.to_owned());
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "redis-password",
        env: "REDIS_PASSWORD",
        default: Default::Computed { words: "none", example: "secret", compute: |_| Ok(None) },
        shape: "PASSWORD",
        help: "The password at redis-host. An environment variable is safer than a flag.",
        secret: Secret::Whole,
        set: |config, text| {
            config.redis.password = Some(Password(text.to_owned()));
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "redis-url",
        env: "REDIS_URL",
        default: Default::Computed {
            words: "made of redis-host and so on, else none",
            example: "redis://127.0.0.1:6379/0",
            compute: |known| Ok(url_of_parts(known)),
        },
        shape: "URL",
        help: "The Redis or Valkey that the replicas share: redis://user:password@host:6379/0; \
               redis-sentinel://user:password@host,host,host/name/0 for the master that Sentinels know by that name; or \
               redis-cluster://user:password@host,host,host for a cluster. With rediss instead of redis each speaks TLS. Without \
               Redis each replica loads for itself, and is just as coherent.",
        secret: Secret::Url,
        set: |config, text| {
            config.redis_url = Some(redis_url(text)?);
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "l2-prefix",
        env: "LARDER_L2_PREFIX",
        default: Default::Text("larder"),
        shape: "NAME",
        help: "The prefix of the keys and the channel in Redis, and the name of the consumer group of queue-stream. The replicas \
               of one catalogue share it; another catalogue needs another one.",
        set: |config, text| {
            config.shared.prefix = prefix(text)?;
            config.events.queue.group.clone_from(&config.shared.prefix);
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "l2-write",
        env: "LARDER_L2_WRITE",
        default: Default::Text("through"),
        shape: "POLICY",
        help: "What a write does to the copy in Redis: through replaces it before the write is acknowledged, behind replaces it a \
               little later, invalidate only tells the other replicas.",
        set: |config, text| {
            config.shared.write = match text.trim() {
                "through" => WritePolicy::Through,
                "invalidate" => WritePolicy::Invalidate,
                "behind" => WritePolicy::Behind,
                _ => return Err(Invalid::new("no such policy", "write through, invalidate or behind")),
            };
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "l2-command-timeout",
        env: "LARDER_L2_COMMAND_TIMEOUT",
        default: Default::Text("100ms"),
        shape: "DURATION",
        help: "How long Redis may take to answer. After three late answers in a row the server goes without Redis until it answers \
               again.",
        set: |config, text| {
            config.shared.command_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
        ..Setting::BASE
    },
];

fn redis_url(text: &str) -> Result<String, Invalid> {
    const HINT: &str = "write redis://user:password@host:6379/0, redis-sentinel://host,host/name or redis-cluster://host,host; or \
                        rediss for TLS";
    let text = text.trim();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let known = matches!(
        scheme,
        Some("redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster")
    );
    if !known || check_shared_url(text).is_err() {
        return Err(Invalid::new("not the URL of a Redis", HINT));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.is_empty() || text.contains(['/', '@', ' ']) {
        return Err(Invalid::new("not a host", "write a name or an address, as in redis.example.com"));
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err(Invalid::new("not a prefix", "write 1 to 64 letters, digits, -, _, . or :"));
    }
    Ok(text.to_owned())
}

fn url_of_parts(known: &Known<'_>) -> Option<String> {
    let parts = &known.config.redis;
    let host = parts.host.as_ref()?;
    let mut url = "redis://".to_owned();
    let username = parts.username.as_deref().map(encoded).unwrap_or_default();
    match &parts.password {
        Some(Password(password)) => {
            let _ = write!(url, "{username}:{}@", encoded(password));
        }
        None if !username.is_empty() => {
            let _ = write!(url, "{username}@");
        }
        None => {}
    }
    if host.contains(':') && !host.starts_with('[') {
        let _ = write!(url, "[{host}]");
    } else {
        url.push_str(host);
    }
    let _ = write!(url, ":{}/{}", parts.port, parts.db);
    Some(url)
}

/// Writes characters with a meaning in URLs as %XX.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
