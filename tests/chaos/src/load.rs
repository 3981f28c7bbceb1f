//! Readers and writers on every replica.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    history::Seen,
    product::{GROUP, LOADED},
    shop::{Change, Page, Shop},
    world::REPLICAS,
};

/// Together they make some 1,200 requests a second, of which one in twenty writes.
const READERS: u64 = 125;
const WRITERS: u32 = 12;
const READ_EVERY: Duration = Duration::from_millis(110);
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// What was under way may take this long to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A load that goes on until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    ends: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts it. What it does is drawn from the seed. A read with a token makes a replica look at the change log, which
    /// hides that it had not heard of something: without them faults are felt.
    pub(crate) fn start(shop: &Arc<Shop>, seed: u64, tokens: bool) -> Self {
        let ends = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for number in 0..READERS {
            let (shop, end) = (Arc::clone(shop), ends.subscribe());
            tasks.spawn(read(shop, end, tokens, SmallRng::seed_from_u64(seed.wrapping_add(number))));
        }
        for number in 1..=WRITERS {
            let (shop, end) = (Arc::clone(shop), ends.subscribe());
            let rng = SmallRng::seed_from_u64(seed.wrapping_sub(u64::from(number)));
            tasks.spawn(write(shop, end, number, rng));
        }
        Self { ends, tasks }
    }

    /// Lets everybody finish what is under way.
    pub(crate) async fn stop(mut self) {
        self.ends.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Who has not finished by then is cut off.
        let _ = timeout(STOP_LIMIT, all).await;
    }
}

async fn read(shop: Arc<Shop>, end: watch::Receiver<bool>, tokens: bool, mut rng: SmallRng) {
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // All of them at once would be a wave.
    tokio::time::sleep(READ_EVERY.mul_f64(rng.random())).await;
    let mut last = None;
    while !*end.borrow() {
        ticks.tick().await;
        let replica = rng.random_range(0..REPLICAS);
        // What it has just seen, or what somebody has just written, may not be undone by another replica.
        let mark = match rng.random_range(0..10) {
            _ if !tokens => None,
            0 => shop.history.recent(rng.random_range(0..8)),
            1 => last.take().and_then(|write| shop.history.mark(write)),
            _ => None,
        };
        let group = rng.random_range(0..LOADED / GROUP);
        match rng.random_range(0..20) {
            0 => drop(shop.page(Page::Batch, group, replica, mark).await),
            1 => drop(shop.page(Page::List, group, replica, mark).await),
            2 => drop(shop.page(Page::Search, group, replica, mark).await),
            _ => {
                if let Some(Seen::Present(write)) = shop.get(favoured(&mut rng), replica, mark).await
                    && write.key < LOADED
                {
                    last = Some(write);
                }
            }
        }
    }
}

async fn write(shop: Arc<Shop>, end: watch::Receiver<bool>, number: u32, mut rng: SmallRng) {
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::time::sleep(WRITE_EVERY.mul_f64(rng.random())).await;
    while !*end.borrow() {
        ticks.tick().await;
        let change = if rng.random_bool(0.1) { Change::Delete } else { Change::Put };
        // It counts in the tally and stands in the history.
        let _ = shop.write(favoured(&mut rng), rng.random_range(0..REPLICAS), number, change).await;
    }
}

/// A key: the first ones more often than the last.
fn favoured(rng: &mut SmallRng) -> usize {
    let chance = rng.random_range(0..LOADED) * rng.random_range(0..LOADED);
    chance / LOADED
}
