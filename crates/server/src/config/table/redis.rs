//! Settings of the shared tier and the bus.

use std::{fmt::Write as _, ops::RangeInclusive, time::Duration};

use larder_cache::{WritePolicy, check_shared_url};

use super::super::{
    Invalid,
    setting::{Known, Secret, Setting},
    value,
};

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);

/// Redis by the parts of its address, as some platforms name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisParts {
    /// The host; without it the parts mean nothing.
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

pub(super) const REDIS: &[Setting] = &[
    Setting::new(
        "redis-host",
        "REDIS_HOST",
        "none",
        "HOST",
        "The host of Redis or Valkey, for those who have no URL of it.",
        |config, text| {
            config.redis.host = Some(host(text)?);
            Ok(())
        },
    )
    .computed("127.0.0.1", |_| Ok(None)),
    Setting::new("redis-port", "REDIS_PORT", "6379", "PORT", "The port at redis-host.", |config, text| {
        // Kubernetes sets such a variable by itself beside a service of the name `redis`.
        if !text.trim().starts_with("tcp://") {
            config.redis.port = value::count(text, 1..=65_535)?;
        }
        Ok(())
    }),
    Setting::new("redis-db", "REDIS_DB", "0", "NUMBER", "The database at redis-host.", |config, text| {
        config.redis.db = value::count(text, 0..=16_383)?;
        Ok(())
    }),
    Setting::new("redis-username", "REDIS_USERNAME", "none", "NAME", "The user at redis-host.", |config, text| {
        config.redis.username = Some(text.to_owned());
        Ok(())
    })
    .computed("larder", |_| Ok(None)),
    Setting::new(
        "redis-password",
        "REDIS_PASSWORD",
        "none",
        "PASSWORD",
        "The password at redis-host. Better in the environment than on a command line.",
        |config, text| {
            config.redis.password = Some(Password(text.to_owned()));
            Ok(())
        },
    )
    .secret(Secret::Whole)
    .computed("secret", |_| Ok(None)),
    Setting::new(
        "redis-url",
        "REDIS_URL",
        "made of redis-host and so on, else none",
        "URL",
        "The Redis or Valkey that replicas share: redis://user:password@host:6379/0, or rediss:// for TLS. Without it each \
         replica loads for itself, and is coherent all the same.",
        |config, text| {
            let text = text.trim();
            let hint = "write redis://user:password@host:6379/0, or rediss:// for TLS";
            if !(text.starts_with("redis://") || text.starts_with("rediss://")) {
                return Err(Invalid::new("not the URL of a Redis", hint));
            }
            check_shared_url(text).map_err(|_| Invalid::new("not the URL of a Redis", hint))?;
            config.redis_url = Some(text.to_owned());
            Ok(())
        },
    )
    .secret(Secret::Url)
    .computed("redis://127.0.0.1:6379/0", |known| Ok(url_of_parts(known))),
    Setting::new(
        "l2-prefix",
        "LARDER_L2_PREFIX",
        "larder",
        "NAME",
        "What the names of keys and of the channel in Redis begin with: the same for the replicas of one catalogue, another one for \
         another catalogue.",
        |config, text| {
            config.shared.prefix = prefix(text)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-write",
        "LARDER_L2_WRITE",
        "through",
        "POLICY",
        "What a write does to the copy in Redis: through puts the new one in its place, invalidate only tells the other replicas, \
         behind puts it in its place a little later.",
        |config, text| {
            config.shared.write = match text.trim() {
                "through" => WritePolicy::Through,
                "invalidate" => WritePolicy::Invalidate,
                "behind" => WritePolicy::Behind,
                _ => return Err(Invalid::new("no such policy", "write through, invalidate or behind")),
            };
            Ok(())
        },
    ),
    Setting::new(
        "l2-connections",
        "LARDER_L2_CONNECTIONS",
        "2",
        "NUMBER",
        "Connections to Redis for commands; each carries many at once. The bus has one of its own.",
        |config, text| {
            config.shared.connections = value::count(text, 1..=256)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-connect-timeout",
        "LARDER_L2_CONNECT_TIMEOUT",
        "1s",
        "DURATION",
        "How long it may take to connect to Redis.",
        |config, text| {
            config.shared.connect_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-command-timeout",
        "LARDER_L2_COMMAND_TIMEOUT",
        "100ms",
        "DURATION",
        "How long Redis may take to answer. After three answers in a row that are late, it is left out until it answers again.",
        |config, text| {
            config.shared.command_timeout = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-lease",
        "LARDER_L2_LEASE",
        "3s",
        "DURATION",
        "How long one replica has the right to load something for all; longer than most queries take.",
        |config, text| {
            config.shared.lease = value::duration_in(text, TIMEOUT)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-max-payload",
        "LARDER_L2_MAX_PAYLOAD",
        "1MiB",
        "SIZE",
        "Copies larger than this are not stored in Redis.",
        |config, text| {
            config.shared.max_payload = usize::try_from(value::size_in(text, 1..=1 << 28)?).unwrap_or(usize::MAX);
            Ok(())
        },
    ),
    Setting::new(
        "bus-queue",
        "LARDER_BUS_QUEUE",
        "4096",
        "NUMBER",
        "Messages of other replicas that may wait to be learned; what comes on top is found in the change log.",
        |config, text| {
            config.shared.bus_queue = value::count(text, 1..=1_000_000)?;
            Ok(())
        },
    ),
    Setting::new(
        "l2-remembered",
        "LARDER_L2_REMEMBERED",
        "200000",
        "NUMBER",
        "Products, categories and tags of which it is remembered when they last changed, to judge copies from Redis; some 100 bytes \
         each.",
        |config, text| {
            config.shared.remembered = value::count(text, 1_000..=100_000_000)?;
            Ok(())
        },
    ),
];

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

/// What a URL gives a meaning of its own is written as %XX.
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
