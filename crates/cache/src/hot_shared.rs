//! What is read most by all replicas together, remembered in Redis, so that a new replica can begin with it.
//!
//! One sorted set holds the names of keys with how often they were read lately. Every replica adds what its readers read, and one
//! of them halves all of it once a minute. It is bounded, and runs out when nobody adds to it any more.

use std::time::Duration;

use redis::Pipeline;
use tokio::time::sleep;

use crate::{
    Cache, Value,
    l2::{Away, L2},
};

/// How often a replica adds what it knows, less up to half of it.
const INTERVAL: Duration = Duration::from_secs(5);
/// Keys that it adds at most each time.
const TOLD: usize = 256;
/// Keys that are remembered.
const MOST: isize = 10_000;
/// How often all of it is halved.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// How long it is remembered when nobody adds to it.
const LIFE: Duration = Duration::from_hours(1);

impl<V: Value> Cache<V> {
    /// Adds what is read most here, again and again.
    pub(crate) async fn share_hot(&self, l2: &L2) {
        loop {
            let wait = self.jitter().part_of(INTERVAL);
            sleep(wait).await;
            let keys = self.hot_keys(TOLD);
            if keys.is_empty() || !l2.link.is_up() {
                continue;
            }
            let reads = keys.iter().map(|key| (key.name.as_str(), key.rate * wait.as_secs_f64()));
            // What is lost here is told again.
            let _ = l2.add_hot(reads, self.counters()).await;
        }
    }

    /// The names of the keys that all replicas together read most lately, the most read first; at most 10,000. Empty where there
    /// is no Redis or it is away.
    pub async fn remembered_hot_keys(&self, most: usize) -> Vec<String> {
        let Some(l2) = &self.shared().l2 else { return Vec::new() };
        l2.hot(most.min(MOST.unsigned_abs()), self.counters()).await.unwrap_or_default()
    }
}

impl L2 {
    async fn add_hot<'a>(
        &self,
        reads: impl Iterator<Item = (&'a str, f64)>,
        counters: &crate::Counters,
    ) -> Result<(), Away> {
        let key = self.hot_key();
        let mut pipeline = Pipeline::new();
        for (name, reads) in reads {
            pipeline.cmd("ZINCRBY").arg(&key).arg(reads).arg(name).ignore();
        }
        pipeline.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(-MOST - 1).ignore();
        pipeline.cmd("EXPIRE").arg(&key).arg(LIFE.as_secs()).ignore();
        self.link.pipeline::<()>(&pipeline, counters).await?;
        // Whoever comes first after a while halves it for all.
        let mut turn = redis::cmd("SET");
        turn.arg(format!("{key}:halved")).arg(1).arg("NX").arg("EX").arg(HALF_LIFE.as_secs());
        let first: Option<String> = self.link.query(&turn, counters).await?;
        if first.is_some() {
            let mut halve = Pipeline::with_capacity(2);
            halve.cmd("ZUNIONSTORE").arg(&key).arg(1).arg(&key).arg("WEIGHTS").arg(0.5).ignore();
            halve.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg("(1").ignore();
            halve.cmd("EXPIRE").arg(&key).arg(LIFE.as_secs()).ignore();
            self.link.pipeline::<()>(&halve, counters).await?;
        }
        Ok(())
    }

    async fn hot(&self, most: usize, counters: &crate::Counters) -> Result<Vec<String>, Away> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(self.hot_key()).arg(0).arg(most - 1);
        self.link.query(&command, counters).await
    }

    fn hot_key(&self) -> String {
        format!("{}:hot", self.prefix())
    }
}
