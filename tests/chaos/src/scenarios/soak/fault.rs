//! The faults of a soak.

use std::{path::PathBuf, time::Duration};

use anyhow::anyhow;
use larder_test_servers::{Faults as Messages, Passage};

use crate::{
    history::Seen,
    product,
    scenarios::{
        database::back,
        outsiders::{KEYS, WRITER, create},
    },
    stage::{Stage, wait},
    world::REPLICAS,
};

/// The replica that is ended and started again. The others live as long as the soak, so that what they use can be compared.
const VICTIM: usize = 0;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    MessagesLost,
    MessagesLate,
    MessagesDoubled,
    SubscribersDeaf,
    FramesReplayed,
    RedisCut,
    RedisEmptied,
    RedisKilled,
    RedisPutBack,
    RedisPaused,
    RedisFull,
    RedisReadOnly,
    RedisUnreachable,
    DatabaseSilent,
    DatabaseUnreachable,
    ConnectionsForgotten,
    RowLocked,
    TransactionOpen,
    RowsTyped,
    PostgresRestarted,
    PostgresKilled,
    ReplicaPaused,
    ReplicaEnded,
    ReplicaKilled,
}

impl Fault {
    pub(super) const ALL: [Self; 24] = [
        Self::MessagesLost,
        Self::MessagesLate,
        Self::MessagesDoubled,
        Self::SubscribersDeaf,
        Self::FramesReplayed,
        Self::RedisCut,
        Self::RedisEmptied,
        Self::RedisKilled,
        Self::RedisPutBack,
        Self::RedisPaused,
        Self::RedisFull,
        Self::RedisReadOnly,
        Self::RedisUnreachable,
        Self::DatabaseSilent,
        Self::DatabaseUnreachable,
        Self::ConnectionsForgotten,
        Self::RowLocked,
        Self::TransactionOpen,
        Self::RowsTyped,
        Self::PostgresRestarted,
        Self::PostgresKilled,
        Self::ReplicaPaused,
        Self::ReplicaEnded,
        Self::ReplicaKilled,
    ];
}

/// What the faults need.
#[derive(Debug)]
pub(super) struct Faults {
    /// A copy of Redis from the beginning.
    old_redis: PathBuf,
}

impl Faults {
    pub(super) async fn prepare(stage: &Stage) -> anyhow::Result<Self> {
        create(&stage.shop, &mut stage.world.psql().await?).await?;
        Ok(Self { old_redis: stage.world.redis.save_copy().await })
    }

    /// Breaks something for a while, and mends it.
    pub(super) async fn play(
        &mut self,
        stage: &mut Stage,
        fault: Fault,
        replica: usize,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::MessagesLost => stage.with_faults(Messages { push_drop: 0.5, ..Messages::default() }, lasts).await,
            Fault::MessagesLate => {
                let late = Messages { push_delay: Duration::from_secs(5), ..Messages::default() };
                stage.with_faults(late, lasts).await;
            }
            Fault::MessagesDoubled => {
                let doubled = Messages { push_duplicate: 0.2, push_swap: 0.2, push_drop: 0.1, ..Messages::default() };
                stage.with_faults(doubled, lasts).await;
            }
            Fault::SubscribersDeaf => {
                stage.with_faults(Messages { subscriber_black_hole: true, ..Messages::default() }, lasts).await;
            }
            Fault::FramesReplayed => stage.with_faults(Messages { replay: 0.1, ..Messages::default() }, lasts).await,
            Fault::RedisCut | Fault::RedisUnreachable => {
                let proxy = &stage.world.proxies()[replica];
                if fault == Fault::RedisUnreachable {
                    proxy.set(Messages { refuse: 1.0, ..Messages::default() });
                }
                proxy.cut_all();
                wait(lasts).await;
                stage.world.proxies()[replica].set(Messages::default());
            }
            Fault::DatabaseSilent | Fault::DatabaseUnreachable => {
                let passage = if fault == Fault::DatabaseSilent { Passage::Silent } else { Passage::Closed };
                stage.world.set_database(replica, passage);
                wait(lasts).await;
                stage.world.set_database(replica, Passage::Open);
                back(stage).await?;
            }
            Fault::ConnectionsForgotten => drop(stage.world.gates()[replica].forget_all()),
            Fault::RowLocked | Fault::TransactionOpen | Fault::RowsTyped => outsider(stage, fault, lasts).await?,
            Fault::PostgresRestarted | Fault::PostgresKilled => postgres(stage, fault).await?,
            Fault::ReplicaPaused => {
                let others: Vec<_> = (0..REPLICAS).filter(|other| *other != replica).collect();
                stage.aim(&others);
                stage.world.replicas()[replica].pause();
                wait(lasts).await;
                stage.world.replicas()[replica].resume();
                stage.aim(&[0, 1, 2]);
            }
            Fault::ReplicaEnded | Fault::ReplicaKilled => replica_ends(stage, fault, lasts).await?,
            _ => self.redis(stage, fault, lasts).await,
        }
        Ok(())
    }

    async fn redis(&self, stage: &Stage, fault: Fault, lasts: Duration) {
        let redis = &stage.world.redis;
        match fault {
            Fault::RedisKilled | Fault::RedisPutBack => {
                redis.kill();
                wait(lasts).await;
                match fault {
                    Fault::RedisKilled => redis.restart().await,
                    _ => redis.restart_with(&self.old_redis).await,
                }
            }
            Fault::RedisPaused => {
                redis.pause();
                wait(lasts).await;
                redis.resume();
            }
            Fault::RedisFull => {
                redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
                redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
                wait(lasts).await;
                redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Fault::RedisReadOnly => {
                redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
                wait(lasts).await;
                redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
            }
            _ => drop(redis.cli(&["FLUSHALL"]).await),
        }
    }
}

/// Somebody works with psql.
async fn outsider(stage: &Stage, fault: Fault, lasts: Duration) -> anyhow::Result<()> {
    let mut session = stage.world.psql().await?;
    let shop = &stage.shop;
    if fault == Fault::RowLocked {
        session.run(&lock(&product::id(0))).await?;
        wait(lasts).await;
        return session.run("ROLLBACK").await.map(drop);
    }
    let held = fault == Fault::TransactionOpen;
    for key in KEYS.take(if held { 1 } else { KEYS.len() }) {
        let write = shop.history.begin(key, WRITER, true, shop.now());
        session.run(&format!("BEGIN; {}", product::update(write))).await?;
        if held {
            wait(lasts).await;
        }
        session.run("COMMIT").await?;
        shop.history.acknowledge(write, None, shop.now());
        for replica in 0..REPLICAS {
            let _: Option<Seen> = shop.get(key, replica, None).await;
        }
    }
    Ok(())
}

fn lock(id: &str) -> String {
    format!("BEGIN; SELECT FROM products WHERE id = '{id}' FOR UPDATE")
}

async fn postgres(stage: &mut Stage, fault: Fault) -> anyhow::Result<()> {
    if fault == Fault::PostgresKilled {
        stage.world.postgres.kill();
    }
    stage.world.postgres.restart().await;
    back(stage).await?;
    if fault == Fault::PostgresKilled {
        stage.shop.history.forget_tokens();
    }
    Ok(())
}

/// A replica ends, its clients call the others, and it comes back.
async fn replica_ends(stage: &Stage, fault: Fault, lasts: Duration) -> anyhow::Result<()> {
    let replica = &stage.world.replicas()[VICTIM];
    stage.aim(&[1, 2]);
    if fault == Fault::ReplicaEnded {
        replica.terminate();
    } else {
        replica.kill();
    }
    wait(lasts).await;
    replica.restart().await.map_err(|log| anyhow!("the replica did not start again:\n{log}"))?;
    stage.aim(&[0, 1, 2]);
    Ok(())
}
