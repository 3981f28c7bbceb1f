//! Many interleavings of writers, readers, loads and passes, and a checker of what the readers saw.
//!
//! One seed is one run on one thread, where every task yields as often as chance will have it, passes and loads fail now
//! and then, time goes by and readers leave; so a failure is repeated by its seed: `LARDER_SEED=… cargo test interleavings`.
//! (Timers of the runtime may fall one millisecond apart: one run in a thousand differs from the last.) The last tests run
//! on several threads for the races between instructions.

use std::{
    collections::HashMap,
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use larder_cache::{ANY, CacheConfig, Found, Freshness, Key, Moment, ReadOptions, Subject, Tier, Token};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::{
    runtime::Builder,
    task::yield_now,
    time::{sleep, timeout},
};

use crate::support::{Bench, Item, Point, committed, config, entry, list, seq, until};

const RUNS: u64 = 10_000;
const ITEMS: [&str; 4] = ["item:a", "item:b", "item:c", "item:d"];
const TERMS: [&str; 3] = ["category:x", "category:y", ANY];
const BOUND: Duration = Duration::from_secs(1);

#[test]
fn no_read_of_ten_thousand_interleavings_breaks_a_promise() {
    let seeds = match env::var("LARDER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..RUNS,
    };
    std::panic::set_hook(Box::new(quiet(std::panic::take_hook())));
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < seeds.end
                {
                    let seen = run(seed).unwrap_or_else(|broken| panic!("LARDER_SEED={seed}: {broken}"));
                    totals.lock().unwrap().add(&seen);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    println!("{totals:?}");
    if seeds.end - seeds.start == RUNS {
        totals.check();
    }
}

/// The panics of loads are part of the game.
fn quiet(
    hook: impl Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync,
) -> impl Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync {
    move |info| {
        if info.payload_as_str() != Some("a load that panics on purpose") {
            hook(info);
        }
    }
}

/// What happened, so that a run in which nothing can go wrong is noticed.
#[derive(Debug, Default)]
struct Totals {
    hits: u64,
    loaded: u64,
    stale: u64,
    absent: u64,
    errors: u64,
    not_stored: u64,
    joins: u64,
    tokens: u64,
    consistent: u64,
    late_commits: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.loaded += other.loaded;
        self.stale += other.stale;
        self.absent += other.absent;
        self.errors += other.errors;
        self.not_stored += other.not_stored;
        self.joins += other.joins;
        self.tokens += other.tokens;
        self.consistent += other.consistent;
        self.late_commits += other.late_commits;
    }

    fn check(&self) {
        let Self { hits, loaded, stale, absent, errors, not_stored, joins, tokens, consistent, late_commits } = self;
        let counts = [hits, loaded, absent, errors, not_stored, joins, tokens, consistent, late_commits];
        assert!(counts.iter().all(|&&count| count > 1_000) && *stale > 100, "{self:?}");
    }
}

/// What everybody knows of what was promised to readers.
struct Game {
    bench: Bench,
    /// By name: the last commit that a writer learned before it acknowledged it.
    learned: Mutex<HashMap<String, u64>>,
    /// Commits whose tokens were handed out: the token, the commit, and what it touched.
    tokens: Mutex<Vec<(Token, u64, Subject)>>,
    seen: Mutex<Totals>,
    broken: Mutex<Option<String>>,
    over: AtomicBool,
}

fn run(seed: u64) -> Result<Totals, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut config = CacheConfig { l1_entries: 16, staleness_bound: BOUND, load_timeout: BOUND * 5, ..config() };
        config.policies.not_found.ttl = BOUND * 2;
        let game = Arc::new(Game {
            bench: Bench::of(config, seed, |db| db.with_chaos(seed)),
            learned: Mutex::default(),
            tokens: Mutex::default(),
            seen: Mutex::default(),
            broken: Mutex::default(),
            over: AtomicBool::new(false),
        });
        game.bench.db.have("item:a", &["tag:even"]);
        game.bench.db.have("item:c", &["tag:even"]);
        let mut random = SmallRng::seed_from_u64(seed);
        let mut players = Vec::new();
        for _ in 0..2 {
            players.push(tokio::spawn(writer(Arc::clone(&game), SmallRng::from_rng(&mut random))));
        }
        for _ in 0..3 {
            players.push(tokio::spawn(reader(Arc::clone(&game), SmallRng::from_rng(&mut random))));
        }
        let time = tokio::spawn(time(Arc::clone(&game), SmallRng::from_rng(&mut random)));
        let ended = timeout(Duration::from_mins(10), join_all(players)).await;
        game.over.store(true, Ordering::SeqCst);
        for player in ended.map_err(|_| "the players do not come to an end")? {
            player.map_err(|error| error.to_string())?;
        }
        time.await.map_err(|error| error.to_string())?;
        if let Some(broken) = game.broken.lock().unwrap().take() {
            return Err(broken);
        }
        let totals = std::mem::take(&mut *game.seen.lock().unwrap());
        let stats = game.bench.stats();
        Ok(Totals { not_stored: stats.not_stored, joins: stats.joins, ..totals })
    })
}

async fn dawdle(random: &mut SmallRng) {
    for _ in 0..random.random_range(0..6) {
        yield_now().await;
    }
}

/// Lets time go by, so that proofs lapse and copies expire: the clock of the cache, and now and then that of the runtime,
/// which moves only while nobody has anything to do.
async fn time(game: Arc<Game>, mut random: SmallRng) {
    while !game.over.load(Ordering::SeqCst) {
        let mut step = Duration::from_millis(random.random_range(0..120));
        let away = &game.bench.db.fail_passes;
        if random.random_bool(0.1) {
            // The log goes away for longer than the bound, or comes back.
            step += if away.fetch_xor(true, Ordering::SeqCst) { Duration::ZERO } else { BOUND };
        }
        if random.random_bool(0.5) {
            dawdle(&mut random).await;
        } else {
            sleep(step).await;
        }
        game.bench.clock.advance(step);
    }
}

async fn writer(game: Arc<Game>, mut random: SmallRng) {
    let db = &game.bench.db;
    for _ in 0..5 {
        let id = db.begin();
        dawdle(&mut random).await;
        if random.random_bool(0.1) {
            db.abort(id);
            continue;
        }
        let item = *ITEMS.choose(&mut random).unwrap();
        let term = *TERMS[..2].choose(&mut random).unwrap();
        let (subject, exists) = match random.random_range(0..13) {
            12 => (
                Subject::Pattern(["item:[ac]", "item:[!a]", "item:*", "["].choose(&mut random).unwrap().to_string()),
                true,
            ),
            0 => (Subject::Term("tag:even".into()), true),
            1 => (Subject::All, true),
            2 if db.history(item).last().is_some_and(|point| point.exists) => (Subject::Key(item.into()), true),
            3 => (entry(item, &[term]), false),
            _ => (entry(item, &[term]), true),
        };
        let token = db.token(id);
        if token.id + 1 < db.begin_and_abort() {
            game.seen.lock().unwrap().late_commits += 1;
        }
        let commit = db.commit(id, subject.clone(), exists);
        dawdle(&mut random).await;
        // Who changes the database by other means tells nobody.
        if random.random_bool(0.6) {
            game.bench.cache.apply(&committed(id, &subject, commit), token.incarnation);
            let mut learned = game.learned.lock().unwrap();
            for name in db.names_of(commit) {
                let last = learned.entry(name).or_default();
                *last = commit.max(*last);
            }
        } else if random.random_bool(0.5) {
            db.notify();
        }
        dawdle(&mut random).await;
        game.tokens.lock().unwrap().push((token, commit, subject));
    }
}

async fn reader(game: Arc<Game>, mut random: SmallRng) {
    for _ in 0..8 {
        dawdle(&mut random).await;
        let mut keys: Vec<Key> = ITEMS.iter().map(|&item| Key::item(item)).collect();
        keys.extend(TERMS.iter().map(|&term| list(term)));
        let count = random.random_range(1..=3);
        let keys: Vec<Key> = keys.choose_multiple(&mut random, count).cloned().collect();
        if random.random_bool(0.1) {
            // A reader who leaves.
            let patience = random.random_range(1..8);
            tokio::select! {
                biased;
                _ = game.bench.read_many(keys) => {}
                () = async { for _ in 0..patience { yield_now().await } } => {}
            }
            continue;
        }
        let began = game.bench.clock.now();
        // What was learned before a read begins, it shows; the follower's part is known after the pass that follows it.
        let mut floors: Vec<u64> = keys.iter().map(|key| game.floor(key)).collect();
        let away = game.bench.db.fail_passes.load(Ordering::SeqCst);
        let freshness = match random.random_range(0..3) {
            _ if away && random.random_bool(0.8) => Freshness::MinimizeLatency,
            0 => Freshness::MinimizeLatency,
            1 => {
                for (floor, key) in floors.iter_mut().zip(&keys) {
                    *floor = game.bench.db.committed(name(key));
                }
                Freshness::FullyConsistent
            }
            _ => {
                let tokens = game.tokens.lock().unwrap().clone();
                let Some((token, commit, _)) = tokens.choose(&mut random) else { continue };
                for (floor, key) in floors.iter_mut().zip(&keys) {
                    if game.bench.db.names_of(*commit).iter().any(|touched| touched == name(key)) {
                        *floor = (*floor).max(*commit);
                    }
                }
                Freshness::AtLeast(*token)
            }
        };
        if game.bench.cache.reach(freshness).await.is_err() {
            game.seen.lock().unwrap().errors += 1;
            continue;
        }
        dawdle(&mut random).await;
        game.read(&keys, &floors, began, freshness, &mut random).await;
    }
}

impl Game {
    fn floor(&self, key: &Key) -> u64 {
        let learned = self.learned.lock().unwrap().get(name(key)).copied().unwrap_or(0);
        learned.max(self.bench.db.followed(name(key)))
    }

    async fn read(&self, keys: &[Key], floors: &[u64], began: Moment, freshness: Freshness, random: &mut SmallRng) {
        // The fast path first, as a server does.
        if let [key] = keys
            && let Some(entry) = self.bench.cache.get(&key.name)
        {
            let found = Found { entry, tier: Tier::L1, stale: false };
            return self.check(key, floors[0], began, freshness, &found);
        }
        let options = ReadOptions {
            max_stale: random.random_bool(0.2).then_some(Duration::ZERO),
            cache_only: random.random_bool(0.05),
        };
        let Ok(found) = self.bench.read_many_with(keys.to_vec(), options).await else {
            self.seen.lock().unwrap().errors += 1;
            return;
        };
        for ((key, floor), found) in keys.iter().zip(floors).zip(&found) {
            match found {
                Some(found) => self.check(key, *floor, began, freshness, found),
                None => assert!(options.cache_only),
            }
        }
    }

    fn check(&self, key: &Key, floor: u64, began: Moment, freshness: Freshness, found: &Found<Item>) {
        let (seq, stale, tier) = (seq(found), found.stale, found.tier);
        let history = self.bench.db.history(name(key));
        let in_time = |point: &&Point| began.since(point.at) > BOUND;
        let bound = history.iter().rev().find(in_time).map_or(0, |point| point.seq);
        // Nothing waives what was learned or promised; only a reply marked stale may be older than the bound.
        let floor = if stale { floor } else { floor.max(bound) };
        if !acceptable(&history, seq, floor, key.term.is_some()) {
            let broken = format!(
                "{freshness:?} read of {} returned {seq:?} (stale: {stale}, {tier:?}), not to be older than {floor}; {history:?}",
                key.name
            );
            self.broken.lock().unwrap().get_or_insert(broken);
        }
        let mut seen = self.seen.lock().unwrap();
        match freshness {
            Freshness::MinimizeLatency => {}
            Freshness::AtLeast(_) => seen.tokens += 1,
            Freshness::FullyConsistent => seen.consistent += 1,
        }
        match (stale, tier) {
            (true, _) => seen.stale += 1,
            (false, Tier::L1) => seen.hits += 1,
            (false, Tier::L2 | Tier::Database) => seen.loaded += 1,
        }
        if seq.is_none() {
            seen.absent += 1;
        }
    }
}

/// Whether a name had this state at `floor` or later. Before its first commit it has number 0, and an item is absent.
fn acceptable(history: &[Point], seq: Option<u64>, floor: u64, list: bool) -> bool {
    let first = Point { seq: 0, exists: list, at: Moment::NEVER };
    let states: Vec<Point> = std::iter::once(first).chain(history.iter().copied()).collect();
    states.iter().enumerate().any(|(n, state)| {
        let until = states.get(n + 1).map_or(u64::MAX, |next| next.seq);
        let same = if state.exists { seq == Some(state.seq) } else { seq.is_none() };
        same && until > floor
    })
}

fn name(key: &Key) -> &str {
    key.term.as_deref().unwrap_or(&key.name)
}

#[test]
fn the_checker_tells_right_from_wrong() {
    let at = Moment::NEVER;
    let history = [(3, true), (5, false), (9, true)].map(|(seq, exists)| Point { seq, exists, at });
    let cases = [
        (Some(3), 4, true),
        (Some(3), 5, false),
        (Some(9), 4, true),
        (Some(7), 0, false),
        (None, 2, true),
        (None, 3, true),
        (None, 8, true),
        (None, 9, false),
        (Some(5), 0, false),
    ];
    for (seq, floor, right) in cases {
        assert_eq!(acceptable(&history, seq, floor, false), right, "{seq:?} with {floor}");
    }
    assert!(!acceptable(&history[2..], None, 9, false) && acceptable(&[], Some(0), 0, true));
}

/// Who learned of a change and begins to read after that sees it: loads, learning and reading on several threads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_learned_change_is_seen_by_every_read_that_begins_later() {
    const WRITES: u64 = 30_000;
    let bench = Arc::new(Bench::new().await);
    bench.db.have("item:a", &["tag:t"]);
    bench.db.put("item:a", &["category:x"]);
    bench.pass().await;
    let learned = Arc::new(AtomicU64::new(1));
    let readers = (0..4).map(|number: u64| {
        let (bench, learned) = (Arc::clone(&bench), Arc::clone(&learned));
        tokio::spawn(async move {
            let mut reads = 0_u64;
            while learned.load(Ordering::SeqCst) < WRITES {
                let floor = learned.load(Ordering::SeqCst);
                let seen = if number.is_multiple_of(2) {
                    bench.seq("item:a").await
                } else {
                    bench.list_seq("category:x").await
                };
                assert!(seen >= Some(floor), "read {seen:?} after {floor} was learned");
                reads += 1;
            }
            reads
        })
    });
    let readers: Vec<_> = readers.collect();
    let writer = Arc::clone(&bench);
    let seen = Arc::clone(&learned);
    tokio::task::spawn_blocking(move || {
        for _ in 2..=WRITES {
            let id = writer.db.begin();
            let seq = writer.db.commit(id, entry("item:a", &["category:x"]), true);
            writer.learn(entry("item:a", &["category:x"]));
            seen.store(seq, Ordering::SeqCst);
        }
    });
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

/// The same for rules: by tag and for everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_learned_rule_is_seen_by_every_read_that_begins_later() {
    const WRITES: u64 = 20_000;
    let bench = Arc::new(Bench::new().await);
    bench.db.have("item:a", &["tag:t"]);
    bench.db.put("item:a", &[]);
    bench.pass().await;
    let learned = Arc::new(AtomicU64::new(1));
    let readers = (0..3).map(|_| {
        let (bench, learned) = (Arc::clone(&bench), Arc::clone(&learned));
        tokio::spawn(async move {
            while learned.load(Ordering::SeqCst) < WRITES {
                let floor = learned.load(Ordering::SeqCst);
                let seen = bench.seq("item:a").await;
                assert!(seen >= Some(floor), "read {seen:?} after {floor} was learned");
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    let writer = Arc::clone(&bench);
    let seen = Arc::clone(&learned);
    tokio::task::spawn_blocking(move || {
        for n in 2..=WRITES {
            let subject = match n % 16 {
                0 => Subject::All,
                1 => Subject::Pattern("item:?".into()),
                _ => Subject::Term("tag:t".into()),
            };
            let id = writer.db.begin();
            let seq = writer.db.commit(id, subject.clone(), true);
            writer.learn(subject);
            writer.learn(Subject::Term("tag:other".into()));
            seen.store(seq, Ordering::SeqCst);
        }
    });
    for reader in readers {
        reader.await.unwrap();
    }
    until(|| learned.load(Ordering::SeqCst) == WRITES).await;
}
