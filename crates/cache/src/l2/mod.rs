//! L2: copies that replicas share in Redis or Valkey, and leases, the right to load a key for all replicas.
//!
//! Nothing in L2 is trusted: the reader judges every copy, whatever Redis lost, kept too long or delivered late. Every command
//! touches one key, so that L2 also works on Redis Cluster; one MGET reads several keys, and the client splits it by slot.

pub(crate) mod codec;
mod connection;
pub(crate) mod lease;
mod link;
mod seal;
mod topology;
pub(crate) mod versioned;
mod write_behind;

use std::{sync::Arc, time::Duration};

use larder_change::Incarnation;
use redis::{Cmd, Pipeline, RedisResult};

use self::{
    codec::{FrameError, Sizes},
    seal::Seal,
    write_behind::WriteBehind,
};
use crate::{
    config::SharedConfig,
    stats::Counters,
    time::Jitter,
    trace::{self, ActiveSpan, SpanKind},
};

pub use self::topology::{check_shared_url, shared_client};
pub(crate) use self::{
    codec::Frame,
    connection::{Away, Connections},
    lease::{Lease, Leases},
};

/// The shared tier.
pub(crate) struct L2 {
    pub(crate) connections: Connections,
    prefix: String,
    /// The largest payload, in bytes.
    most: usize,
    seal: Seal,
    lease: Duration,
    /// Identifies the leases and messages of this replica.
    pub(crate) replica: u64,
    write_behind: WriteBehind,
    counters: Arc<Counters>,
}

/// A copy to store.
pub(crate) struct Fill {
    pub(crate) name: Box<str>,
    pub(crate) frame: Frame,
    pub(crate) ttl: Duration,
    /// The smallest payload that is compressed, in bytes.
    pub(crate) compress_from: usize,
    /// The largest payload that is stored, in bytes.
    pub(crate) most: usize,
}

/// A lease to give back.
pub(crate) struct HeldLease {
    /// The name of the key.
    pub(crate) name: Box<str>,
    /// The value by which Redis knows the holder.
    pub(crate) value: Vec<u8>,
}

/// The values of several keys in Redis.
type Stored = Vec<Option<Vec<u8>>>;

/// The answer to a request for a lease.
pub(crate) struct Leased {
    /// Whether another replica holds the lease. Where Redis refuses leases, as when it is full, nobody does.
    pub(crate) lost: bool,
    pub(crate) frame: Option<Frame>,
}

/// The state of a key that another replica loads.
pub(crate) struct Watched {
    pub(crate) frame: Option<Frame>,
    /// The value of the lease, while there is one.
    pub(crate) lease: Option<Vec<u8>>,
}

impl L2 {
    pub(crate) fn new(config: &SharedConfig, replica: u64, counters: Arc<Counters>) -> Result<Self, String> {
        Ok(Self {
            connections: Connections::new(config, Arc::clone(&counters))?,
            prefix: config.prefix.clone(),
            most: config.max_payload,
            seal: Seal::new(&config.frame_keys),
            lease: config.lease,
            replica,
            write_behind: WriteBehind::default(),
            counters,
        })
    }

    /// Maintains the connections and writes queued copies, until the future is dropped.
    pub(crate) async fn run(&self, jitter: &Jitter) {
        tokio::join!(self.connections.keep(jitter), self.write_queued());
    }

    /// Whether Redis can be asked now.
    pub(crate) fn is_up(&self) -> bool {
        self.connections.is_up()
    }

    /// How long a lease lasts.
    pub(crate) fn lease_length(&self) -> Duration {
        self.lease
    }

    /// The prefix of every key and channel.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The channel of the bus.
    pub(crate) fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    /// The channel of messages to all replicas.
    pub(crate) fn everybody(&self) -> String {
        format!("{}:replicas", self.prefix)
    }

    /// The channel of messages to one replica.
    pub(crate) fn one(&self, replica: u64) -> String {
        format!("{}:replica:{replica:016x}", self.prefix)
    }

    /// Publishes a message on a channel.
    pub(crate) async fn say(&self, channel: &str, payload: &[u8]) -> Result<(), Away> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(payload);
        self.connections.query::<redis::Value>(&command).await.map(drop)
    }

    /// Reads the frames of keys, for a reader who would rather load than wait longer than `patience`. Damaged frames are omitted and
    /// counted.
    pub(crate) async fn get(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        patience: Duration,
    ) -> Result<Vec<Option<Frame>>, Away> {
        let keys = self.keys(incarnation, names);
        let mut command = redis::cmd("MGET");
        command.arg(&keys);
        let span = span("MGET", names.len());
        let stored: Stored = outcome(&span, self.connections.query_within(&command, patience).await)?;
        span.note("larder.l2.copies", stored.iter().flatten().count());
        Ok(keys.iter().zip(stored).map(|(key, stored)| self.check(key, stored?)).collect())
    }

    /// Reads the frames of keys, each with its remaining time to live.
    pub(crate) async fn get_with_time(
        &self,
        incarnation: Incarnation,
        names: &[&str],
    ) -> Result<Vec<(Option<Frame>, Duration)>, Away> {
        let keys = self.keys(incarnation, names);
        let mut pipeline = Pipeline::with_capacity(2 * keys.len());
        for key in &keys {
            pipeline.cmd("PTTL").arg(key).cmd("GET").arg(key);
        }
        let span = span("PIPELINE GET", names.len());
        let read: Vec<(i64, Option<Vec<u8>>)> = outcome(&span, self.connections.pipeline(&pipeline).await)?;
        let frames = keys.iter().zip(read).map(|(key, (left, stored))| {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            (stored.and_then(|stored| self.check(key, stored)), left)
        });
        Ok(frames.collect())
    }

    /// Reads the frames and the leases of keys.
    pub(crate) async fn watch(&self, incarnation: Incarnation, names: &[&str]) -> Result<Vec<Watched>, Away> {
        let keys = self.keys(incarnation, names);
        let leases: Vec<String> = names.iter().map(|name| self.lease_key(incarnation, name)).collect();
        let mut pipeline = Pipeline::with_capacity(2);
        // The leases first: a lease that is gone was gone before the frame was read, so that its fill is not missed.
        pipeline.cmd("MGET").arg(&leases).cmd("MGET").arg(&keys);
        let (leases, frames): (Stored, Stored) = self.connections.pipeline(&pipeline).await?;
        let frames = keys.iter().zip(frames).map(|(key, stored)| self.check(key, stored?));
        Ok(frames.zip(leases).map(|(frame, lease)| Watched { frame, lease }).collect())
    }

    /// Takes the free leases of keys, and reads the frames once more: the previous holder may have filled them since the last read.
    pub(crate) async fn lease(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        value: &str,
    ) -> Result<Vec<Leased>, Away> {
        let keys = self.keys(incarnation, names);
        let mut pipeline = Pipeline::with_capacity(names.len() + 1);
        pipeline.ignore_errors();
        for name in names {
            let mut command = redis::cmd("SET");
            command.arg(self.lease_key(incarnation, name)).arg(value).arg("NX").arg("PX").arg(millis(self.lease));
            pipeline.add_command(command);
        }
        pipeline.cmd("MGET").arg(&keys);
        let span = span("PIPELINE SET", names.len());
        let mut replies: Vec<RedisResult<redis::Value>> = outcome(&span, self.connections.pipeline(&pipeline).await)?;
        let frames = replies.pop().and_then(Result::ok).and_then(|frames| redis::from_redis_value(frames).ok());
        let frames: Stored = frames.unwrap_or_else(|| vec![None; keys.len()]);
        let leased = keys.iter().zip(replies).zip(frames).map(|((key, set), frame)| Leased {
            lost: matches!(set, Ok(redis::Value::Nil)),
            frame: frame.and_then(|stored| self.check(key, stored)),
        });
        Ok(leased.collect())
    }

    /// Stores copies and gives back leases, in one round trip.
    pub(crate) async fn fill(
        &self,
        incarnation: Incarnation,
        fills: &[Fill],
        leases: &[HeldLease],
    ) -> Result<(), Away> {
        let mut pipeline = Pipeline::with_capacity(fills.len() + leases.len());
        pipeline.ignore_errors();
        fills.iter().filter_map(|fill| self.set(incarnation, fill)).for_each(|command| {
            pipeline.add_command(command);
        });
        for HeldLease { name, value } in leases {
            pipeline.cmd("EVAL").arg(RELEASE).arg(1).arg(self.lease_key(incarnation, name)).arg(&value[..]);
        }
        let span = if pipeline.is_empty() { ActiveSpan::default() } else { span("PIPELINE SET", fills.len()) };
        outcome(&span, self.send(&pipeline).await)
    }

    /// Stores copies and notifies the other replicas, in one round trip.
    pub(crate) async fn publish(
        &self,
        incarnation: Incarnation,
        fills: &[Fill],
        messages: &[Vec<u8>],
    ) -> Result<(), Away> {
        let mut pipeline = Pipeline::with_capacity(fills.len() + messages.len());
        pipeline.ignore_errors();
        let channel = self.channel();
        for message in messages {
            pipeline.cmd("PUBLISH").arg(&channel).arg(message);
        }
        fills.iter().filter_map(|fill| self.set(incarnation, fill)).for_each(|command| {
            pipeline.add_command(command);
        });
        let span = trace::start("publish changes", SpanKind::Producer);
        span.note("messaging.system", "redis");
        span.note("messaging.operation.name", "publish");
        span.note("messaging.operation.type", "send");
        span.note("messaging.destination.name", &*channel);
        span.note("messaging.batch.message_count", messages.len());
        span.note("larder.l2.copies", fills.len());
        outcome(&span, self.send(&pipeline).await)
    }

    /// The frame of a key and its remaining time to live; no frame where the stored bytes are damaged.
    pub(crate) async fn peek(
        &self,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<Option<(Option<Frame>, Duration)>, Away> {
        let key = self.key(incarnation, name);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("PTTL").arg(&key).cmd("GET").arg(&key);
        let (left, stored): (i64, Option<Vec<u8>>) = self.connections.pipeline(&pipeline).await?;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Ok(stored.map(|stored| (Frame::decode(&key, stored, self.most, &self.seal).ok(), left)))
    }

    /// Writes a short-lived value and reads it back.
    pub(crate) async fn probe(&self, value: &str, ttl: Duration) -> Result<Option<Vec<u8>>, Away> {
        let key = format!("{}:probe:{:016x}", self.prefix, self.replica);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("SET").arg(&key).arg(value).arg("PX").arg(millis(ttl)).ignore().cmd("GET").arg(&key);
        let (read,): (Option<Vec<u8>>,) = self.connections.pipeline(&pipeline).await?;
        Ok(read)
    }

    /// The output of INFO, of each master where there are several.
    pub(crate) async fn info(&self) -> Result<Vec<String>, Away> {
        let text = |value| redis::from_redis_value::<String>(value).map_err(|_| Away);
        match self.connections.query(&redis::cmd("INFO")).await? {
            redis::Value::Map(nodes) => {
                let mut texts = nodes.into_iter().map(|(_, info)| text(info)).collect::<Result<Vec<_>, _>>()?;
                // A replica has what its master has.
                texts.retain(|info| !info.contains("\nrole:slave"));
                Ok(texts)
            }
            info => Ok(vec![text(info)?]),
        }
    }

    async fn send(&self, pipeline: &Pipeline) -> Result<(), Away> {
        if pipeline.is_empty() {
            return Ok(());
        }
        let replies: Vec<RedisResult<redis::Value>> = self.connections.pipeline(pipeline).await?;
        let refused = replies.iter().filter(|reply| reply.is_err()).count();
        self.counters.l2_refused.add(refused as u64);
        Ok(())
    }

    fn set(&self, incarnation: Incarnation, fill: &Fill) -> Option<Cmd> {
        let key = self.key(incarnation, &fill.name);
        let sizes = Sizes { compress_from: fill.compress_from, most: fill.most.min(self.most) };
        let stored = fill.frame.encode(&key, sizes, &self.seal)?;
        let mut command = redis::cmd("SET");
        command.arg(key).arg(stored).arg("PX").arg(millis(fill.ttl));
        Some(command)
    }

    fn check(&self, key: &str, stored: Vec<u8>) -> Option<Frame> {
        match Frame::decode(key, stored, self.most, &self.seal) {
            Ok(frame) => Some(frame),
            Err(FrameError::Format) => {
                self.counters.l2_unknown.one();
                None
            }
            Err(FrameError::Unsigned) => {
                self.counters.l2_unsigned.one();
                None
            }
            Err(FrameError::Damaged | FrameError::TooLarge) => {
                self.counters.l2_damaged.one();
                None
            }
        }
    }

    fn keys(&self, incarnation: Incarnation, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| self.key(incarnation, name)).collect()
    }

    fn key(&self, incarnation: Incarnation, name: &str) -> String {
        format!("{}:{:016x}:{name}", self.prefix, incarnation.0)
    }

    /// The key of a lease. Redis Cluster keeps it where it keeps the copy: the braces make what is between them count alone.
    fn lease_key(&self, incarnation: Incarnation, name: &str) -> String {
        format!("{0}:{1:016x}:lease:{{{0}:{1:016x}:{name}}}", self.prefix, incarnation.0)
    }
}

/// The span of a round trip to Redis, if the request is traced.
fn span(operation: &'static str, keys: usize) -> ActiveSpan {
    let span = trace::start(operation, SpanKind::Client);
    span.note("db.system.name", "redis");
    span.note("db.operation.name", operation);
    if keys > 1 {
        span.note("db.operation.batch.size", keys);
    }
    span
}

fn outcome<T>(span: &ActiveSpan, outcome: Result<T, Away>) -> Result<T, Away> {
    if outcome.is_err() {
        span.fail("unavailable");
    }
    outcome
}

/// Deletes a lease that still has a given value. Only efficiency depends on it: a lease that is left behind expires.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Redis rejects a time to live of zero.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 40)
}
