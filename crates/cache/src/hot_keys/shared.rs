//! The keys that all replicas together read most, kept in Redis so that a new replica can warm up with them.
//!
//! One sorted set holds the names of keys and how often they were read lately. Every replica adds its reads: a sample of the hits
//! in L1 and every miss, so that the set names what the replicas hold in memory, most read first. Once a minute one replica halves
//! all counts. The set is bounded, and expires when no replica adds to it any more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::Pipeline;
use tokio::time::sleep;

use super::HotKeySketch;
use crate::{
    l2::{Away, L2},
    time::Jitter,
};

/// How often a replica adds its reads, less up to half of it.
const INTERVAL: Duration = Duration::from_secs(5);
/// Keys in the set: some 2.5 MB. Halving all of them occupies Redis for some 20 ms.
const MOST: isize = 20_000;
/// How often all counts are halved.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// The count at which a key is removed: ten minutes after a single read, when its copies have expired.
const FORGOTTEN: &str = "0.001";
/// Names per read; how often a read is retried when Redis does not answer, and how long after.
const PAGE: usize = 1_000;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// The time to live of the set after the last addition.
const TTL: Duration = Duration::from_hours(1);

/// The sorted set in Redis.
pub(crate) struct SharedHotKeys {
    l2: Arc<L2>,
    jitter: Arc<Jitter>,
}

impl SharedHotKeys {
    pub(crate) fn new(l2: Arc<L2>, jitter: Arc<Jitter>) -> Self {
        Self { l2, jitter }
    }

    /// Adds the reads of this replica periodically, until the future is dropped.
    pub(crate) async fn contribute(&self, sketch: &HotKeySketch) {
        loop {
            sleep(self.jitter.part_of(INTERVAL)).await;
            let reads = sketch.take_lately();
            if reads.is_empty() || !self.l2.is_up() {
                continue;
            }
            // A failure loses a few seconds of an estimate.
            let _ = self.add(&reads).await;
        }
    }

    /// The names of the keys that are read most, most read first; at most 20,000. Empty while Redis is away. A name may occur
    /// twice, since other replicas add to the set between two pages.
    pub(crate) async fn top(&self, most: usize) -> Vec<String> {
        let most = most.min(MOST.unsigned_abs());
        let (mut names, mut failed) = (Vec::new(), 0);
        while names.len() < most {
            let page = PAGE.min(most - names.len());
            match self.page(names.len(), page).await {
                Ok(read) => {
                    let last = read.len() < page;
                    names.extend(read);
                    if last {
                        break;
                    }
                }
                // A Redis that is slow for a moment must not leave a new replica cold.
                Err(Away) if failed < TRIES => {
                    failed += 1;
                    sleep(self.jitter.part_of(PAUSE)).await;
                }
                Err(Away) => break,
            }
        }
        names
    }

    async fn add(&self, reads: &HashMap<String, u64>) -> Result<(), Away> {
        let (connections, key) = (&self.l2.connections, self.key());
        let mut pipeline = Pipeline::new();
        for (name, reads) in reads {
            pipeline.cmd("ZINCRBY").arg(&key).arg(reads).arg(name).ignore();
        }
        pipeline.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(-MOST - 1).ignore();
        pipeline.cmd("EXPIRE").arg(&key).arg(TTL.as_secs()).ignore();
        connections.pipeline::<()>(&pipeline).await?;
        // The first replica after each half-life halves the counts for all.
        let mut turn = redis::cmd("SET");
        turn.arg(format!("{key}:halved")).arg(1).arg("NX").arg("EX").arg(HALF_LIFE.as_secs());
        let first: Option<String> = connections.query(&turn).await?;
        if first.is_some() {
            let mut halve = Pipeline::with_capacity(2);
            halve.cmd("ZUNIONSTORE").arg(&key).arg(1).arg(&key).arg("WEIGHTS").arg(0.5).ignore();
            halve.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(FORGOTTEN).ignore();
            halve.cmd("EXPIRE").arg(&key).arg(TTL.as_secs()).ignore();
            connections.pipeline::<()>(&halve).await?;
        }
        Ok(())
    }

    /// `count` names from a rank on.
    async fn page(&self, from: usize, count: usize) -> Result<Vec<String>, Away> {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(self.key()).arg(from).arg(from + count - 1);
        self.l2.connections.query(&command).await
    }

    fn key(&self) -> String {
        format!("{}:hot", self.l2.prefix())
    }
}
