//! How soon a write is seen elsewhere.

use std::time::Duration;

use anyhow::bail;
use futures_util::future::try_join_all;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep};

use crate::{
    history::{Moment, Write},
    product::LOADED,
    psql::Psql,
    shop::{Change, Shop},
    world::REPLICAS,
};

/// Keys that only probes write.
pub(crate) const KEYS: std::ops::Range<usize> = LOADED..LOADED + 20;
const WRITER: u32 = 100;
const PSQL: u32 = 101;
/// Between two looks.
const LOOK: Duration = Duration::from_micros(500);
/// Nothing takes this long.
const LIMIT: Duration = Duration::from_secs(20);

/// Creates the keys of the probes.
pub(crate) async fn prepare(shop: &Shop) -> anyhow::Result<()> {
    try_join_all(KEYS.map(|key| shop.write(key, 0, WRITER, Change::Put))).await?;
    Ok(())
}

/// Writes on one replica and watches the memory of the others, again and again until the time is over.
pub(crate) async fn writes(shop: &Shop, length: Duration) -> anyhow::Result<()> {
    let (end, mut rng) = (Instant::now() + length, SmallRng::seed_from_u64(1));
    while Instant::now() < end {
        let (key, replica) = (rng.random_range(KEYS), rng.random_range(0..REPLICAS));
        warm(shop, key).await;
        let write = shop.write(key, replica, WRITER, Change::Put).await?;
        watch(shop, write, &others(replica)).await?;
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Types an UPDATE into psql and watches every replica, `count` times.
pub(crate) async fn typed(shop: &Shop, psql: &mut Psql, count: usize) -> anyhow::Result<()> {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..count {
        let key = rng.random_range(KEYS);
        warm(shop, key).await;
        let write = shop.history.begin(key, PSQL, true, shop.now());
        psql.run(&crate::product::update(write)).await?;
        shop.history.acknowledge(write, None, shop.now());
        watch(shop, write, &[0, 1, 2]).await?;
    }
    Ok(())
}

/// The replicas but for one.
pub(crate) fn others(replica: usize) -> Vec<usize> {
    (0..REPLICAS).filter(|other| *other != replica).collect()
}

/// Has every replica keep a copy.
pub(crate) async fn warm(shop: &Shop, key: usize) {
    for replica in 0..REPLICAS {
        shop.get(key, replica, None).await;
    }
}

/// Notes for each replica when the first read began that returned the write.
pub(crate) async fn watch(shop: &Shop, write: Write, replicas: &[usize]) -> anyhow::Result<()> {
    let acknowledged = shop.history.acknowledged(write).unwrap_or_else(|| shop.now());
    let sent = shop.history.begun(write).unwrap_or(acknowledged);
    let watch_one = async |replica: &usize| {
        let begin = until_seen(shop, write, *replica).await?;
        shop.tally.seen_after(begin.saturating_sub(acknowledged), shop.now().saturating_sub(sent));
        anyhow::Ok(())
    };
    try_join_all(replicas.iter().map(watch_one)).await.map(drop)
}

/// Reads until a replica shows a write, after which nobody wrote, and returns when that read began.
pub(crate) async fn until_seen(shop: &Shop, write: Write, replica: usize) -> anyhow::Result<Moment> {
    let (expected, limit) = (shop.history.left_by(write), shop.now() + LIMIT);
    loop {
        let begin = shop.now();
        if shop.get(write.key, replica, None).await == Some(expected) {
            return Ok(begin);
        }
        if begin > limit {
            bail!("{write:?} was not seen on replica {} within {LIMIT:?}", replica + 1);
        }
        sleep(LOOK).await;
    }
}
