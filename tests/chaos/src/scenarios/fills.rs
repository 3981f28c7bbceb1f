//! Loads and fills that are late: what was read before a change arrives after it.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    history::{Seen, Write},
    product::{self, LOADED},
    report::Report,
    shop::Change,
    stage::{Setup, Stage},
    world::REPLICAS,
};

const KEYS: Range<usize> = LOADED + 60..LOADED + 180;
const WRITER: u32 = 600;
/// So many of the keys may be in the middle of a round at once; the others wait for the bound to pass.
const BUSY: usize = 12;
/// How many rounds may fail to make something late, for each that is asked for. On a busy machine many loads time out and many fills
/// are left out because Redis is slow.
const PATIENCE: u64 = 10;
/// How long a load or a fill may take to come by.
const LIMIT: Duration = Duration::from_secs(2);
/// Waits a little longer than the bound.
const MARGIN: Duration = Duration::from_millis(50);

/// What is late.
#[derive(Debug, Clone, Copy)]
enum Late {
    /// What PostgreSQL answers to the load of a replica.
    Answer,
    /// What a replica puts into Redis.
    Fill,
}

/// What happens between reading and arriving.
#[derive(Debug, Clone, Copy)]
enum Between {
    /// The product is changed.
    Update,
    /// It is deleted and created again.
    Recreate,
    /// It is deleted.
    Delete,
    /// There was none, and it is created.
    Create,
}

/// What came of the rounds.
#[derive(Debug)]
struct Counts {
    begun: AtomicUsize,
    busy: Semaphore,
    updates: AtomicU64,
    recreations: AtomicU64,
    /// Nothing was late: the replica had not loaded.
    missed: AtomicU64,
    stale: AtomicU64,
    revived: AtomicU64,
    denied: AtomicU64,
}

pub(super) async fn late(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup
        .stage_with(|plan| {
            // A write leaves nothing in Redis: whoever reads next has to load.
            plan.replicas.push(("LARDER_L2_WRITE", "invalidate".to_owned()));
            plan.replicas.push(("LARDER_DATABASE_CONNECTIONS", "40".to_owned()));
        })
        .await?;
    stage.start_load().await;
    let (rounds, counts) = (setup.count(600, 20_000), Counts::new());
    try_join_all(KEYS.map(|key| one_after_another(&stage, key, rounds, &counts))).await?;
    stage.stop_load().await;
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (updates, recreations, missed) = (get(&counts.updates), get(&counts.recreations), get(&counts.missed));
    let late = updates + recreations;
    stage.did(format!("{updates} updates and {recreations} deletions and creations before a late load or fill"));
    stage.note(format!("{missed} more loads were not late"));
    stage.must(late >= rounds as u64, format!("{late} loads and fills rather than {rounds} were late"));
    for (count, what) in [
        (&counts.stale, "reads returned what had been changed"),
        (&counts.revived, "reads returned what had been deleted"),
        (&counts.denied, "reads did not find what had been created"),
    ] {
        let count = get(count);
        stage.must(count == 0, format!("{count} {what}"));
    }
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

impl Counts {
    fn new() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            busy: Semaphore::new(BUSY),
            updates: AtomicU64::new(0),
            recreations: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            revived: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }

    /// Counts the reads that show something else. A call that failed is counted elsewhere.
    fn judge(&self, expected: Seen, reads: &[Option<Seen>]) {
        for seen in reads.iter().flatten().filter(|seen| **seen != expected) {
            let count = match (seen, expected) {
                (Seen::Absent, _) => &self.denied,
                (Seen::Present(_), Seen::Absent) => &self.revived,
                (Seen::Present(_), Seen::Present(_)) => &self.stale,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Plays the rounds of a key, until all rounds of all keys are played.
async fn one_after_another(stage: &Stage, key: usize, rounds: usize, counts: &Counts) -> anyhow::Result<()> {
    loop {
        let number = counts.begun.fetch_add(1, Ordering::Relaxed);
        if number >= rounds {
            return Ok(());
        }
        let between = match number % 6 {
            0 | 2 | 4 => Between::Update,
            1 => Between::Recreate,
            3 => Between::Create,
            _ => Between::Delete,
        };
        let late = if (number / 6).is_multiple_of(2) { Late::Answer } else { Late::Fill };
        let reader = number / 12 % REPLICAS;
        // One that was not late does not count.
        while !round(stage, key, reader, late, between, counts).await? {
            if counts.missed.fetch_add(1, Ordering::Relaxed) > PATIENCE * rounds as u64 {
                return Ok(());
            }
        }
        match between {
            Between::Update => counts.updates.fetch_add(1, Ordering::Relaxed),
            Between::Recreate | Between::Delete | Between::Create => counts.recreations.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// One round; whether something was late.
async fn round(
    stage: &Stage,
    key: usize,
    reader: usize,
    late: Late,
    between: Between,
    counts: &Counts,
) -> anyhow::Result<bool> {
    let (shop, world) = (&stage.shop, &stage.world);
    let busy = counts.busy.acquire().await?;
    let (one, other) = ((reader + 1) % REPLICAS, (reader + 2) % REPLICAS);
    // Something new, of which nobody has a copy.
    let mut before = shop.write(key, one, WRITER, Change::Put).await?;
    if matches!(between, Between::Create) {
        before = shop.write(key, one, WRITER, Change::Delete).await?;
    }
    let change = async || {
        let mut last = before;
        let changes: &[Change] = match between {
            Between::Update | Between::Create => &[Change::Put],
            Between::Recreate => &[Change::Delete, Change::Put],
            Between::Delete => &[Change::Delete],
        };
        for change in changes {
            last = shop.write(key, other, WRITER, *change).await?;
        }
        anyhow::Ok(last)
    };
    let (id, mark) = (product::id(key), shop.history.mark(before));
    let last = match late {
        Late::Answer => {
            let answer = world.gates()[reader].hold_answer(id.as_bytes());
            let mut reading = std::pin::pin!(shop.get(key, reader, mark));
            let held = tokio::select! {
                held = answer.held() => held,
                _ = &mut reading => None,
            };
            let Some(held) = held else {
                return Ok(false);
            };
            let (_, last) = tokio::join!(reading, async {
                let last = change().await;
                drop(held);
                last
            });
            last?
        }
        Late::Fill => {
            let set = world.proxies()[reader].hold_set(&id);
            shop.get(key, reader, mark).await;
            let Ok(Some(set)) = timeout(LIMIT, set.taken()).await else {
                return Ok(false);
            };
            let last = change().await?;
            set.release().await?;
            last
        }
    };
    let until = Instant::now() + shop.history.bound() + MARGIN;
    // Whoever asks without the token may be shown what was, for as long as the bound: the history judges that.
    everywhere(stage, last, false).await;
    counts.judge(shop.history.left_by(last), &everywhere(stage, last, true).await);
    drop(busy);
    sleep_until(until).await;
    let _busy = counts.busy.acquire().await?;
    counts.judge(shop.history.left_by(last), &everywhere(stage, last, false).await);
    Ok(true)
}

/// Reads what a write has left on all replicas, with its token or without.
async fn everywhere(stage: &Stage, last: Write, marked: bool) -> Vec<Option<Seen>> {
    let shop = &stage.shop;
    let mark = || if marked { shop.history.mark(last) } else { None };
    join_all((0..REPLICAS).map(|replica| shop.get(last.key, replica, mark()))).await
}
