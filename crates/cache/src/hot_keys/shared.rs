//! What is read most by all replicas together, remembered in Redis, so that a new replica can begin with it.
//!
//! One sorted set holds the names of keys with how often they were read lately. Every replica adds what its readers read: a sample
//! of what memory answered, and all that it did not, so that the set names what is in the memory of the replicas, the most read
//! first. One of them halves all of it once a minute. It is bounded, and runs out when nobody adds to it any more.

use std::{collections::HashMap, time::Duration};

use redis::Pipeline;
use tokio::time::sleep;

use crate::{
    Cache, Value,
    l2::{Away, L2},
};

/// How often a replica adds what it knows, less up to half of it.
const INTERVAL: Duration = Duration::from_secs(5);
/// Keys that are remembered: some 2.5 MB, and to halve all of them keeps Redis busy for some 20 ms.
const MOST: isize = 20_000;
/// How often all of it is halved.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// What has come down to this is forgotten: a key that was read once, after ten minutes, when its copies have expired.
const FORGOTTEN: &str = "0.001";
/// Names that are read at once; how often it is tried again when Redis does not answer, and how long after.
const PAGE: usize = 1_000;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How long it is remembered when nobody adds to it.
const LIFE: Duration = Duration::from_hours(1);

impl<V: Value> Cache<V> {
    /// Adds what is read most here, again and again.
    pub(crate) async fn share_hot(&self, l2: &L2) {
        loop {
            sleep(self.jitter().part_of(INTERVAL)).await;
            let reads = self.shared().hot.take_lately();
            if reads.is_empty() || !l2.link.is_up() {
                continue;
            }
            // What is lost here is a few seconds of an estimate.
            let _ = l2.add_hot(&reads, self.counters()).await;
        }
    }

    /// The names of the keys that all replicas together read most lately, the most read first; at most 20,000. Empty where there
    /// is no Redis or it is away.
    ///
    /// A name may occur twice: they are read page by page, while others add to them.
    pub async fn remembered_hot_keys(&self, most: usize) -> Vec<String> {
        let Some(l2) = &self.shared().l2 else { return Vec::new() };
        let most = most.min(MOST.unsigned_abs());
        let (mut names, mut failed) = (Vec::new(), 0);
        while names.len() < most {
            let page = PAGE.min(most - names.len());
            match l2.hot(names.len(), page, self.counters()).await {
                Ok(read) => {
                    let last = read.len() < page;
                    names.extend(read);
                    if last {
                        break;
                    }
                }
                // A Redis that is slow for a moment is not to leave a new replica cold.
                Err(Away) if failed < TRIES => {
                    failed += 1;
                    sleep(self.jitter().part_of(PAUSE)).await;
                }
                Err(Away) => break,
            }
        }
        names
    }
}

impl L2 {
    async fn add_hot(&self, reads: &HashMap<String, u64>, counters: &crate::Counters) -> Result<(), Away> {
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
            halve.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(FORGOTTEN).ignore();
            halve.cmd("EXPIRE").arg(&key).arg(LIFE.as_secs()).ignore();
            self.link.pipeline::<()>(&halve, counters).await?;
        }
        Ok(())
    }

    /// The names from a rank on, so many.
    async fn hot(&self, from: usize, count: usize, counters: &crate::Counters) -> Result<Vec<String>, Away> {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(self.hot_key()).arg(from).arg(from + count - 1);
        self.link.query(&command, counters).await
    }

    fn hot_key(&self) -> String {
        format!("{}:hot", self.prefix())
    }
}
