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
pub(crate) const READERS: u64 = 125;
const WRITERS: u32 = 12;
const READ_EVERY: Duration = Duration::from_millis(110);
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// What was under way may take this long to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A load that goes on until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    orders: watch::Sender<Orders>,
    tasks: JoinSet<()>,
}

/// What everybody is told.
#[derive(Debug, Clone)]
struct Orders {
    end: bool,
    /// Whom to call.
    replicas: Vec<usize>,
}

impl Load {
    /// Starts it, with so many readers. What it does is drawn from the seed. A read with a token makes a replica look at the change log, which
    /// hides that it had not heard of something: without them faults are felt.
    pub(crate) fn start(shop: &Arc<Shop>, readers: u64, seed: u64, tokens: bool) -> Self {
        let orders = watch::Sender::new(Orders { end: false, replicas: (0..REPLICAS).collect() });
        let mut tasks = JoinSet::new();
        for number in 0..readers {
            let (shop, orders) = (Arc::clone(shop), orders.subscribe());
            tasks.spawn(read(shop, orders, tokens, SmallRng::seed_from_u64(seed.wrapping_add(number))));
        }
        for number in 1..=WRITERS {
            let (shop, orders) = (Arc::clone(shop), orders.subscribe());
            let rng = SmallRng::seed_from_u64(seed.wrapping_sub(u64::from(number)));
            tasks.spawn(write(shop, orders, number, rng));
        }
        Self { orders, tasks }
    }

    /// Calls these replicas from now on, as a balancer does that knows of a replica's trouble.
    pub(crate) fn aim(&self, replicas: &[usize]) {
        self.orders.send_modify(|orders| orders.replicas = replicas.to_vec());
    }

    /// Lets everybody finish what is under way.
    pub(crate) async fn stop(mut self) {
        self.orders.send_modify(|orders| orders.end = true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Who has not finished by then is cut off.
        let _ = timeout(STOP_LIMIT, all).await;
    }
}

async fn read(shop: Arc<Shop>, orders: watch::Receiver<Orders>, tokens: bool, mut rng: SmallRng) {
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // All of them at once would be a wave.
    tokio::time::sleep(READ_EVERY.mul_f64(rng.random())).await;
    let mut last = None;
    while !orders.borrow().end {
        ticks.tick().await;
        let replica = one_of(&orders, &mut rng);
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

async fn write(shop: Arc<Shop>, orders: watch::Receiver<Orders>, number: u32, mut rng: SmallRng) {
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::time::sleep(WRITE_EVERY.mul_f64(rng.random())).await;
    while !orders.borrow().end {
        ticks.tick().await;
        // The service config has deletions made once.
        let deletes = shop.balanced().is_none() && rng.random_bool(0.1);
        let change = if deletes { Change::Delete } else { Change::Put };
        // It counts in the tally and stands in the history.
        let _ = shop.write(favoured(&mut rng), one_of(&orders, &mut rng), number, change).await;
    }
}

fn one_of(orders: &watch::Receiver<Orders>, rng: &mut SmallRng) -> usize {
    let orders = orders.borrow();
    orders.replicas[rng.random_range(0..orders.replicas.len())]
}

/// A key: the first ones more often than the last.
fn favoured(rng: &mut SmallRng) -> usize {
    let chance = rng.random_range(0..LOADED) * rng.random_range(0..LOADED);
    chance / LOADED
}
