//! L2: copies that replicas share, in Redis or Valkey, and the right to load one for all.
//!
//! Nothing here is trusted to be right: what is read is judged by the reader, whatever Redis lost, kept too long or got late.
//! Every command touches one key, so that all of it also works on Redis Cluster; several keys are asked for by one MGET, which
//! a client of a cluster splits.

pub(crate) mod codec;
mod connection;
pub(crate) mod lease;
mod retry;
pub(crate) mod write_behind;

use std::time::Duration;

use redis::{Cmd, Pipeline, RedisResult};

use crate::{
    Counters, Incarnation, SharedConfig,
    l2::codec::{Frame, FrameError, Sizes},
};

pub(crate) use connection::{Away, Link};
pub(crate) use retry::BackOff;

/// Tells whether the URL of a shared tier could be connected to, without trying.
pub fn check_shared_url(url: &str) -> Result<(), String> {
    redis::Client::open(url).map(drop).map_err(|error| error.to_string())
}

/// The shared tier.
pub(crate) struct L2 {
    pub(crate) link: Link,
    prefix: String,
    /// The largest payload, in bytes.
    most: usize,
    lease: Duration,
    /// Tells this replica's leases and messages from others'.
    pub(crate) replica: u64,
}

/// A copy to store.
pub(crate) struct Fill {
    pub(crate) name: Box<str>,
    pub(crate) frame: Frame,
    pub(crate) ttl: Duration,
    /// The least payload that is compressed, in bytes.
    pub(crate) compress_from: usize,
    /// The largest payload that is stored, in bytes.
    pub(crate) most: usize,
}

/// What keys hold.
type Stored = Vec<Option<Vec<u8>>>;

/// What became of the wish to load a key for all.
pub(crate) struct Leased {
    /// Whether another replica has the right. Where Redis refuses to give any, as when it is full, nobody has it.
    pub(crate) lost: bool,
    pub(crate) frame: Option<Frame>,
}

/// What is there of a key that somebody else loads.
pub(crate) struct Watched {
    pub(crate) frame: Option<Frame>,
    /// The value of the lease, while there is one.
    pub(crate) lease: Option<Vec<u8>>,
}

impl L2 {
    pub(crate) fn new(config: &SharedConfig, replica: u64) -> Result<Self, String> {
        Ok(Self {
            link: Link::new(config)?,
            prefix: config.prefix.clone(),
            most: config.max_payload,
            lease: config.lease,
            replica,
        })
    }

    /// How long a lease lasts.
    pub(crate) fn lease_length(&self) -> Duration {
        self.lease
    }

    /// What every key and channel begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The channel of the bus.
    pub(crate) fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    /// The channel on which every replica hears what is said to all.
    pub(crate) fn everybody(&self) -> String {
        format!("{}:replicas", self.prefix)
    }

    /// The channel on which one replica hears what is said to it.
    pub(crate) fn one(&self, replica: u64) -> String {
        format!("{}:replica:{replica:016x}", self.prefix)
    }

    /// Says something on a channel.
    pub(crate) async fn say(&self, channel: &str, payload: &[u8], counters: &Counters) -> Result<(), Away> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(payload);
        self.link.query::<redis::Value>(&command, counters).await.map(drop)
    }

    /// Gets the frames of keys. What does not check out is left out and counted.
    pub(crate) async fn get(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        counters: &Counters,
    ) -> Result<Vec<Option<Frame>>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.key(incarnation, name)).collect();
        let mut command = redis::cmd("MGET");
        command.arg(&keys);
        let stored: Stored = self.link.query(&command, counters).await?;
        Ok(keys.iter().zip(stored).map(|(key, stored)| self.check(key, stored?, counters)).collect())
    }

    /// Gets the frames of keys with the time that each has left.
    pub(crate) async fn get_with_time(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        counters: &Counters,
    ) -> Result<Vec<(Option<Frame>, Duration)>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.key(incarnation, name)).collect();
        let mut pipeline = Pipeline::with_capacity(2 * keys.len());
        for key in &keys {
            pipeline.cmd("PTTL").arg(key).cmd("GET").arg(key);
        }
        let looked: Vec<(i64, Option<Vec<u8>>)> = self.link.pipeline(&pipeline, counters).await?;
        let frames = keys.iter().zip(looked).map(|(key, (left, stored))| {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            (stored.and_then(|stored| self.check(key, stored, counters)), left)
        });
        Ok(frames.collect())
    }

    /// Gets the frames of keys, and who has the right to load them.
    pub(crate) async fn watch(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        counters: &Counters,
    ) -> Result<Vec<Watched>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.key(incarnation, name)).collect();
        let leases: Vec<String> = names.iter().map(|name| self.lease_key(incarnation, name)).collect();
        let mut pipeline = Pipeline::with_capacity(2);
        // The leases first: a lease that is gone was gone before the frame was looked for, so that its fill is not missed.
        pipeline.cmd("MGET").arg(&leases).cmd("MGET").arg(&keys);
        let (leases, frames): (Stored, Stored) = self.link.pipeline(&pipeline, counters).await?;
        let frames = keys.iter().zip(frames).map(|(key, stored)| self.check(key, stored?, counters));
        Ok(frames.zip(leases).map(|(frame, lease)| Watched { frame, lease }).collect())
    }

    /// Takes the right to load keys, where nobody has it, and looks for their frames once more: who had the right until now may
    /// have filled them since the last look.
    pub(crate) async fn lease(
        &self,
        incarnation: Incarnation,
        names: &[&str],
        value: &str,
        counters: &Counters,
    ) -> Result<Vec<Leased>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.key(incarnation, name)).collect();
        let mut pipeline = Pipeline::with_capacity(names.len() + 1);
        pipeline.ignore_errors();
        for name in names {
            let mut command = redis::cmd("SET");
            command.arg(self.lease_key(incarnation, name)).arg(value).arg("NX").arg("PX").arg(millis(self.lease));
            pipeline.add_command(command);
        }
        pipeline.cmd("MGET").arg(&keys);
        let mut replies: Vec<RedisResult<redis::Value>> = self.link.pipeline(&pipeline, counters).await?;
        let frames = replies.pop().and_then(Result::ok).and_then(|frames| redis::from_redis_value(frames).ok());
        let frames: Stored = frames.unwrap_or_else(|| vec![None; keys.len()]);
        let leased = keys.iter().zip(replies).zip(frames).map(|((key, set), frame)| Leased {
            lost: matches!(set, Ok(redis::Value::Nil)),
            frame: frame.and_then(|stored| self.check(key, stored, counters)),
        });
        Ok(leased.collect())
    }

    /// Stores copies and gives back rights to load, each a name and the value of its lease, in one round trip.
    pub(crate) async fn fill(
        &self,
        incarnation: Incarnation,
        fills: &[Fill],
        rights: &[(Box<str>, Vec<u8>)],
        counters: &Counters,
    ) -> Result<(), Away> {
        let mut pipeline = Pipeline::with_capacity(fills.len() + rights.len());
        pipeline.ignore_errors();
        fills.iter().filter_map(|fill| self.set(incarnation, fill)).for_each(|command| {
            pipeline.add_command(command);
        });
        for (name, value) in rights {
            pipeline.cmd("EVAL").arg(RELEASE).arg(1).arg(self.lease_key(incarnation, name)).arg(&value[..]);
        }
        self.send(&pipeline, counters).await
    }

    /// Stores copies and tells the other replicas, in one round trip.
    pub(crate) async fn publish(
        &self,
        incarnation: Incarnation,
        fills: &[Fill],
        messages: &[Vec<u8>],
        counters: &Counters,
    ) -> Result<(), Away> {
        let mut pipeline = Pipeline::with_capacity(fills.len() + messages.len());
        pipeline.ignore_errors();
        for message in messages {
            pipeline.cmd("PUBLISH").arg(self.channel()).arg(message);
        }
        fills.iter().filter_map(|fill| self.set(incarnation, fill)).for_each(|command| {
            pipeline.add_command(command);
        });
        self.send(&pipeline, counters).await
    }

    /// The frame of a key as it is there, with the rest of its time; without a frame where it does not check out.
    pub(crate) async fn peek(
        &self,
        incarnation: Incarnation,
        name: &str,
        counters: &Counters,
    ) -> Result<Option<(Option<Frame>, Duration)>, Away> {
        let key = self.key(incarnation, name);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("PTTL").arg(&key).cmd("GET").arg(&key);
        let (left, stored): (i64, Option<Vec<u8>>) = self.link.pipeline(&pipeline, counters).await?;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Ok(stored.map(|stored| (Frame::decode(&key, stored, self.most).ok(), left)))
    }

    /// Writes a value that lives for a while and reads it back.
    pub(crate) async fn probe(
        &self,
        value: &str,
        life: Duration,
        counters: &Counters,
    ) -> Result<Option<Vec<u8>>, Away> {
        let key = format!("{}:probe:{:016x}", self.prefix, self.replica);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("SET").arg(&key).arg(value).arg("PX").arg(millis(life)).ignore().cmd("GET").arg(&key);
        let (read,): (Option<Vec<u8>>,) = self.link.pipeline(&pipeline, counters).await?;
        Ok(read)
    }

    /// What Redis says about itself.
    pub(crate) async fn info(&self, counters: &Counters) -> Result<String, Away> {
        self.link.query(&redis::cmd("INFO"), counters).await
    }

    async fn send(&self, pipeline: &Pipeline, counters: &Counters) -> Result<(), Away> {
        if pipeline.is_empty() {
            return Ok(());
        }
        let replies: Vec<RedisResult<redis::Value>> = self.link.pipeline(pipeline, counters).await?;
        let refused = replies.iter().filter(|reply| reply.is_err()).count();
        counters.l2_refused.add(refused as u64);
        Ok(())
    }

    fn set(&self, incarnation: Incarnation, fill: &Fill) -> Option<Cmd> {
        let key = self.key(incarnation, &fill.name);
        let sizes = Sizes { compress_from: fill.compress_from, most: fill.most.min(self.most) };
        let stored = fill.frame.encode(&key, sizes)?;
        let mut command = redis::cmd("SET");
        command.arg(key).arg(stored).arg("PX").arg(millis(fill.ttl));
        Some(command)
    }

    fn check(&self, key: &str, stored: Vec<u8>, counters: &Counters) -> Option<Frame> {
        match Frame::decode(key, stored, self.most) {
            Ok(frame) => Some(frame),
            Err(FrameError::Format) => {
                counters.l2_unknown.one();
                None
            }
            Err(FrameError::Damaged | FrameError::TooLarge) => {
                counters.l2_damaged.one();
                None
            }
        }
    }

    fn key(&self, incarnation: Incarnation, name: &str) -> String {
        format!("{}:{:016x}:{name}", self.prefix, incarnation.0)
    }

    fn lease_key(&self, incarnation: Incarnation, name: &str) -> String {
        format!("{}:{:016x}:lease:{name}", self.prefix, incarnation.0)
    }
}

/// Deletes a lease that still has a value. Only economy depends on it: a lease that is left behind ends by itself.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Redis takes no time of zero.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 40)
}
