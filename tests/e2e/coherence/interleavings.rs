//! Ten thousand interleavings of load and change on each database, and every read is checked.
//!
//! An interleaving is a load during which something that it read was changed and acknowledged, before it stored what it had
//! read. The loads are the cache's own, and read from the real database; what is added is that they are held between
//! reading and storing, until a change has been acknowledged or learned. Readers read meanwhile as the service does, and
//! writers write through the replica and past it, in transactions that commit in another order than they began.
//!
//! `LARDER_TEST_SEED` repeats what chance decides, as far as the scheduler lets it.

use std::{
    env,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use larder_cache::{Cache, CacheConfig, Clock, Freshness, Incarnation};
use larder_server::catalog::Catalog;
use larder_storage::{ProductRepository as _, Repository, StorageConfig};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{runtime::Handle, task::JoinSet, time::sleep};

use super::{
    history::History,
    outsider::Outsider,
    readers::Reader,
    writers::{Flag, Writer, locks},
};
use crate::harness::Database;

/// Loads that must have been overtaken by a change.
const INTERLEAVINGS: u64 = 10_000;
/// After each of these parts of them everything comes to rest, and all that L1 holds must be the latest.
const PARTS: u64 = 10;
/// Who takes part.
const LOADERS: usize = 40;
const READERS: usize = 6;
const WRITERS: usize = 2;
const SESSIONS: usize = 6;
/// SQLite has one writer at a time, and whoever waits for it does so by trying again.
const SQLITE_SESSIONS: usize = 2;
/// A machine that is this slow tells nothing.
const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_loads_race_changes_on_sqlite() {
    race(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_loads_race_changes_on_postgres() {
    race(&Database::postgres().await).await;
}

async fn race(database: &Database) {
    let seed = seed();
    println!("seed {seed}");
    let repository = Repository::connect(&StorageConfig::new(database.url())).await.expect("the database");
    let repository = Arc::new(repository);
    let config = CacheConfig::default();
    let bound = config.staleness_bound;
    let cache = Cache::new(config, Clock::system(), Handle::current(), seed);
    let catalog = Catalog::new(cache.clone(), Arc::clone(&repository), Handle::current());
    let following = tokio::spawn(cache.clone().follow(Arc::new(catalog.log())));
    cache.first_pass().await.expect("a look at the change log");
    let history = Arc::new(History::new(cache.clock().clone(), bound));
    let mut race = Race {
        database,
        catalog,
        history: Arc::clone(&history),
        incarnation: Incarnation(repository.pass(None, 0).await.expect("a look at the change log").incarnation.0),
        rng: SmallRng::seed_from_u64(seed),
    };

    let begin = Instant::now();
    for part in 1..=PARTS {
        race.run_until(INTERLEAVINGS * part / PARTS, begin).await;
        race.rest().await;
        if let Some(failure) = history.failure() {
            panic!("{failure}\nseed {seed}, after {:?} and {:?}", begin.elapsed(), history.counts);
        }
    }
    println!("{:?} in {:?}; {:?}", history.counts, begin.elapsed(), cache.stats());
    following.abort();
}

fn seed() -> u64 {
    match env::var("LARDER_TEST_SEED") {
        Ok(text) => text.parse().expect("LARDER_TEST_SEED to be a number"),
        Err(_) => rand::random(),
    }
}

struct Race<'a> {
    database: &'a Database,
    catalog: Catalog,
    history: Arc<History>,
    incarnation: Incarnation,
    rng: SmallRng,
}

impl Race<'_> {
    /// Lets everybody loose until so many loads have been overtaken, or something is wrong.
    async fn run_until(&mut self, interleavings: u64, begin: Instant) {
        let (flag, locks) = (Flag::default(), locks());
        let mut tasks = JoinSet::new();
        for number in 0..LOADERS + READERS {
            let (mut reader, flag) = (self.reader(), flag.clone());
            tasks.spawn(async move {
                while !flag.is_raised() {
                    if number < LOADERS {
                        reader.read_held().await;
                    } else {
                        reader.read().await;
                    }
                    sleep(Duration::from_millis(reader.rng.random_range(0..2))).await;
                }
            });
        }
        let sessions = if matches!(self.database, Database::Postgres { .. }) { SESSIONS } else { SQLITE_SESSIONS };
        for number in 0..WRITERS + sessions {
            let mut writer = Writer {
                catalog: self.catalog.clone(),
                history: Arc::clone(&self.history),
                locks: Arc::clone(&locks),
                incarnation: self.incarnation,
                rng: SmallRng::from_rng(&mut self.rng),
            };
            let session = if number < WRITERS { None } else { Some(Outsider::connect(self.database).await) };
            let flag = flag.clone();
            tasks.spawn(async move {
                let mut session = session;
                while !flag.is_raised() {
                    match &mut session {
                        Some(session) => writer.write_outside(session).await,
                        None => writer.write().await,
                    }
                    sleep(Duration::from_millis(writer.rng.random_range(0..5))).await;
                }
            });
        }
        let counts = &self.history.counts;
        while counts.raced.load(Ordering::Relaxed) < interleavings && self.history.failure().is_none() {
            sleep(Duration::from_millis(5)).await;
            assert!(begin.elapsed() < LIMIT, "too slow: {counts:?}");
            if let Some(ended) = tasks.try_join_next() {
                ended.expect("nobody to panic");
            }
        }
        flag.raise();
        while let Some(ended) = tasks.join_next().await {
            ended.expect("nobody to panic");
        }
    }

    /// Nobody writes any more: once the change log has been read, everything in L1 is the latest.
    async fn rest(&mut self) {
        self.catalog.cache().reach(Freshness::FullyConsistent).await.expect("a look at the change log");
        let mut reader = self.reader();
        reader.read_everything().await;
    }

    fn reader(&mut self) -> Reader {
        let rng = SmallRng::from_rng(&mut self.rng);
        Reader { catalog: self.catalog.clone(), history: Arc::clone(&self.history), rng }
    }
}
