//! Many lives of one database: its history forks at any commit, ids and versions are used again, transactions commit out of the
//! order of their ids, and Redis returns any frame it was ever given.
//!
//! The database is like PostgreSQL: whatever is stored can be put back, the moment at which the server started cannot. A fresh
//! read must return what the database held at some moment since one that lies the staleness bound before the read; with
//! `fully_consistent`, since the read began; with a token, in a state that has the token's commit.

mod origin;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use larder_cache::{
    ANY, Cache, CacheConfig, Clock, Found, Freshness, Key, Moment, Policy, ReadOptions, SharedConfig, Tier,
};
use larder_test_servers::{Faults, Proxy, Redis, RedisOptions};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::{runtime::Handle, task::JoinHandle};

use self::origin::{Origin, Past, Stamped, Written};
use crate::{
    shared::shared,
    support::{config, list, until},
};

const ITEMS: [&str; 3] = ["item:a", "item:b", "item:c"];
const BOUND: Duration = Duration::from_secs(1);
const WORLDS: u64 = 40;
const ROUNDS: u64 = 250;

/// What was seen, so that a game in which nothing can go wrong is noticed.
#[derive(Debug, Default)]
struct Seen {
    l1: u64,
    l2: u64,
    loaded: u64,
    stale: u64,
    errors: u64,
    tokens: u64,
    refused: u64,
    forks: u64,
    wrong: Vec<String>,
}

struct Replica {
    cache: Cache<Stamped>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct World {
    origin: Arc<Origin>,
    clock: Clock,
    shared: SharedConfig,
    replicas: Vec<Replica>,
    written: Mutex<Vec<Written>>,
    seen: Mutex<Seen>,
    seed: u64,
}

impl World {
    async fn new(shared: SharedConfig, seed: u64, tells_start: bool) -> Self {
        let clock = Clock::manual();
        let origin = Arc::new(Origin::new(clock.clone(), seed, tells_start));
        let mut world = Self {
            origin,
            clock,
            shared,
            replicas: Vec::new(),
            written: Mutex::default(),
            seen: Mutex::default(),
            seed,
        };
        for number in 0..2 {
            let replica = world.replica(number).await;
            world.replicas.push(replica);
        }
        world
    }

    /// A process that has just started, and has read the log.
    async fn replica(&self, number: u64) -> Replica {
        let config = CacheConfig { shared: Some(self.shared.clone()), staleness_bound: BOUND, ..config() };
        let cache = Cache::sharing(config, self.clock.clone(), Handle::current(), self.seed * 10 + number).unwrap();
        let share = tokio::spawn(cache.clone().share());
        let follow = tokio::spawn(cache.clone().follow(Arc::clone(&self.origin)));
        let replica = Replica { cache, tasks: [share, follow] };
        let cache = &replica.cache;
        until(|| cache.age_of_last_pass().is_some() && cache.shared_tier_up() == Some(true)).await;
        until(|| cache.bus_connected() == Some(true)).await;
        replica
    }

    /// Writers, readers and a fate, all at once.
    async fn round(&mut self, random: &mut SmallRng) {
        if random.random_bool(0.1) {
            // Who stops may do so before a fork and start after it.
            let number = random.random_range(0..self.replicas.len());
            self.replicas.swap_remove(number);
            self.fate(&mut SmallRng::from_rng(random)).await;
            let replica = self.replica(random.random()).await;
            self.replicas.push(replica);
        }
        let [mut one, mut two, mut three, mut four, mut five] = [(); 5].map(|()| SmallRng::from_rng(random));
        tokio::join!(
            self.write(&mut one),
            self.write(&mut two),
            self.read_some(&mut three),
            self.read_some(&mut four),
            self.fate(&mut five),
        );
        if random.random_bool(0.3) {
            self.clock.advance(BOUND * 2);
        }
    }

    async fn fate(&self, random: &mut SmallRng) {
        self.origin.dawdle().await;
        match random.random_range(0..20) {
            0..3 => self.origin.put_back(),
            3 => self.origin.crash(),
            4 => self.origin.restart(),
            5..10 => self.origin.wake.notify_one(),
            10 => self.clock.advance(BOUND / 2),
            11 => self.clock.advance(BOUND),
            _ => {}
        }
    }

    async fn write(&self, random: &mut SmallRng) {
        let key = *ITEMS.choose(random).unwrap();
        let Some(id) = self.origin.begin(key) else { return };
        for _ in 0..random.random_range(0..3) {
            self.origin.dawdle().await;
        }
        let Some((written, commit)) = self.origin.commit(id, key, random.random_bool(0.8)) else { return };
        // Who changes the database by other means tells nobody.
        if random.random_bool(0.6) {
            self.origin.dawdle().await;
            self.replicas.choose(random).unwrap().cache.wrote(commit).await;
        } else {
            self.origin.wake.notify_one();
        }
        self.written.lock().unwrap().push(written);
    }

    async fn read_some(&self, random: &mut SmallRng) {
        for _ in 0..random.random_range(1..4) {
            self.origin.dawdle().await;
            self.read(random).await;
        }
    }

    async fn read(&self, random: &mut SmallRng) {
        let cache = &self.replicas.choose(random).unwrap().cache;
        let token = random.random_bool(0.2).then(|| self.token(random)).flatten();
        let name = token.map_or_else(|| *ITEMS.choose(random).unwrap(), |written| written.key);
        let name = if random.random_bool(0.2) { ANY } else { name };
        let key = if name == ANY { list(ANY) } else { Key::item(name) };
        let (began, before) = (self.clock.now(), self.origin.state().past.len() - 1);
        let freshness = match token {
            Some(written) => Freshness::AtLeast(written.token),
            None if random.random_bool(0.3) => Freshness::FullyConsistent,
            None => Freshness::MinimizeLatency,
        };
        if cache.reach(freshness).await.is_err() {
            self.seen.lock().unwrap().refused += 1;
            return;
        }
        self.origin.dawdle().await;
        let origin = Arc::clone(&self.origin);
        let load = move |_| {
            let origin = Arc::clone(&origin);
            async move { origin.load(name).await }
        };
        let policy = if name == ANY { Policy::List } else { Policy::Item };
        let found = cache.get_or_load(key, policy, ReadOptions::default(), load).await;
        // Another life may have begun since, which lacks the commit: a server looks again.
        if token.is_some() && cache.reach(freshness).await.is_err() {
            self.seen.lock().unwrap().refused += 1;
            return;
        }
        let mut seen = self.seen.lock().unwrap();
        match found {
            Ok(found) if found.stale => seen.stale += 1,
            Ok(found) => {
                let asked = Asked { name, freshness, token, began, before };
                if let Some(wrong) = self.judge(&asked, &found) {
                    seen.wrong.push(wrong);
                }
                *match found.tier {
                    Tier::L1 => &mut seen.l1,
                    Tier::L2 => &mut seen.l2,
                    Tier::Database => &mut seen.loaded,
                } += 1;
                seen.tokens += u64::from(token.is_some());
            }
            Err(_) => seen.errors += 1,
        }
    }

    /// That of any commit, or of one of the last.
    fn token(&self, random: &mut SmallRng) -> Option<Written> {
        let written = self.written.lock().unwrap();
        let recent = if random.random_bool(0.7) { written.len().saturating_sub(8) } else { 0 };
        written[recent..].choose(random).copied()
    }

    /// Why a fresh reply is wrong.
    fn judge(&self, asked: &Asked, found: &Found<Stamped>) -> Option<String> {
        let state = self.origin.state();
        let past = &state.past;
        // What was replaced exactly the bound ago was still there at the moment that counts.
        let in_time = past.iter().rposition(|past| asked.began.since(past.at) > BOUND).unwrap_or(0);
        let from = if asked.freshness == Freshness::FullyConsistent { asked.before } else { in_time };
        let value = found.entry.value.as_ref();
        let shows = |past: &Past| past.rows[asked.name].as_ref() == value;
        let has = |past: &Past| asked.token.is_none_or(|written| past.commits.contains(&written.commit));
        // A commit that is taken away while it is read is nobody's to show.
        let kept = past[asked.before..].iter().all(has);
        let right = past[from..].iter().any(|past| shows(past) && (has(past) || !kept));
        let held = past[from..].iter().any(has);
        (!right || !held).then(|| {
            let states: Vec<_> = past[from..].iter().map(|past| (&past.rows[asked.name], &past.commits)).collect();
            format!(
                "world {}: {:?} of {} ({:?}) returned {value:?}, not one of {states:?}",
                self.seed, asked.freshness, asked.name, found.tier
            )
        })
    }
}

struct Asked {
    name: &'static str,
    freshness: Freshness,
    token: Option<Written>,
    began: Moment,
    before: usize,
}

/// Plays worlds, until one of them saw something wrong where `stops` says so.
async fn play(worlds: u64, tells_start: bool, stops: bool) -> Seen {
    let redis = Redis::start(RedisOptions::default()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut total = Seen::default();
    let mut seeds = (0..worlds).collect::<Vec<_>>();
    while !seeds.is_empty() && !stop.load(Ordering::Relaxed) {
        let several = seeds.split_off(seeds.len().saturating_sub(4)).into_iter().map(|seed| {
            let (address, stop) = (redis.address(), Arc::clone(&stop));
            tokio::spawn(async move {
                let proxy = Proxy::start(address);
                proxy.set(Faults { replay: 0.4, ..Faults::default() });
                let mut world = World::new(shared(proxy.url()), seed, tells_start).await;
                let mut random = SmallRng::seed_from_u64(seed);
                for _ in 0..ROUNDS {
                    world.round(&mut random).await;
                    if stops && !world.seen.lock().unwrap().wrong.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
                assert!(stops || proxy.counts().replayed > 0, "the adversary did nothing");
                let forks = world.origin.state().forks;
                Seen { forks, ..std::mem::take(&mut *world.seen.lock().unwrap()) }
            })
        });
        for seen in join_all(several).await {
            total.add(seen.unwrap());
        }
    }
    total
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.l1 += other.l1;
        self.l2 += other.l2;
        self.loaded += other.loaded;
        self.stale += other.stale;
        self.errors += other.errors;
        self.tokens += other.tokens;
        self.refused += other.refused;
        self.forks += other.forks;
        self.wrong.extend(other.wrong);
    }
}

/// Ten thousand times writers, readers and a fate at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_lost_life_is_ever_taken() {
    let seen = play(WORLDS, true, false).await;
    let Seen { l1, l2, loaded, forks, tokens, .. } = seen;
    let counts = format!("{:?}", Seen { wrong: Vec::new(), ..seen });
    println!("{counts}");
    for wrong in seen.wrong.iter().take(3) {
        println!("{wrong}");
    }
    assert_eq!(seen.wrong.len(), 0, "{counts}");
    assert!([l1, l2, loaded, forks, tokens].iter().all(|&count| count > 200), "{counts}");
}

/// Without what cannot be put back the same game finds copies of lost lives: it can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incarnation_that_can_be_put_back_is_found_out() {
    let seen = play(WORLDS, false, true).await;
    assert!(!seen.wrong.is_empty(), "{seen:?}");
}
