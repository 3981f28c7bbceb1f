//! Several replicas over one database and one real Redis.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use larder_cache::{
    Cache, CacheConfig, Clock, Commit, Found, Freshness, Incarnation, Key, Policy, ReadError, ReadOptions,
    SharedConfig, Subject, Tier, Token, WritePolicy,
};
use larder_test_servers::{Faults, Proxy, Redis, RedisOptions};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::support::{At, Database, Item, committed, config, entry, list, seq, until};

/// Replicas, each with its own Redis address.
pub(crate) struct Cluster {
    pub(crate) db: Arc<Database>,
    pub(crate) clock: Clock,
    pub(crate) replicas: Vec<Cache<Item>>,
    /// Of each replica what shares and what follows.
    pub(crate) tasks: Vec<[JoinHandle<()>; 2]>,
}

/// A name that no other test uses.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn shared(url: String) -> SharedConfig {
    SharedConfig { url, prefix: prefix(), command_timeout: Duration::from_secs(2), ..SharedConfig::default() }
}

impl Cluster {
    pub(crate) async fn new(replicas: usize) -> Self {
        let redis = Redis::shared().await;
        Self::of(replicas, &shared(redis.url()), |db| db).await
    }

    pub(crate) async fn of(replicas: usize, shared: &SharedConfig, adorn: impl FnOnce(Database) -> Database) -> Self {
        let configs = vec![shared.clone(); replicas];
        Self::with(configs, Clock::manual(), adorn).await
    }

    /// Every replica has read the log once and is connected.
    pub(crate) async fn with(
        configs: Vec<SharedConfig>,
        clock: Clock,
        adorn: impl FnOnce(Database) -> Database,
    ) -> Self {
        let db = Arc::new(adorn(Database::new(clock.clone())));
        let mut cluster = Self { db, clock, replicas: Vec::new(), tasks: Vec::new() };
        for shared in configs {
            cluster.join(shared);
        }
        for cache in &cluster.replicas {
            cluster.joined(cache).await;
        }
        cluster
    }

    /// Adds a replica.
    pub(crate) fn join(&mut self, shared: SharedConfig) {
        let seed = self.replicas.len() as u64 + 1;
        let config = CacheConfig { shared: Some(shared), ..config() };
        let cache = Cache::sharing(config, self.clock.clone(), Handle::current(), seed).unwrap();
        cache.introduce(&format!("replica-{seed}"), "1.2.3");
        let share = tokio::spawn(cache.clone().share());
        let follow = tokio::spawn(cache.clone().follow(Arc::clone(&self.db)));
        self.tasks.push([share, follow]);
        self.replicas.push(cache);
    }

    /// Waits until a replica has read the log once and is connected.
    pub(crate) async fn joined(&self, cache: &Cache<Item>) {
        until(|| cache.age_of_last_pass().is_some()).await;
        until(|| cache.shared_tier_up() == Some(true) && cache.bus_connected() == Some(true)).await;
    }

    pub(crate) async fn read(&self, replica: usize, key: Key) -> Result<Found<Item>, ReadError> {
        let policy = if key.term.is_some() { Policy::List } else { Policy::Item };
        let name = key.term.as_ref().unwrap_or(&key.name).to_string();
        let db = Arc::clone(&self.db);
        let load = move |_| {
            let (db, name) = (Arc::clone(&db), name.clone());
            async move { db.load(vec![name]).await }
        };
        self.replicas[replica].get_or_load(key, policy, ReadOptions::default(), load).await
    }

    /// Where an item was found, and the commit it shows.
    pub(crate) async fn item(&self, replica: usize, name: &str) -> (Tier, Option<u64>) {
        let found = self.read(replica, Key::item(name)).await.unwrap();
        (found.tier, seq(&found))
    }

    /// Commits a change through a replica, as its own write.
    pub(crate) async fn write(&self, replica: usize, subject: Subject, exists: bool) -> (Token, u64) {
        let id = self.db.begin();
        let commit = self.db.commit(id, subject.clone(), exists);
        self.wrote(replica, id, &subject, exists, commit).await;
        (self.db.token(id), commit)
    }

    pub(crate) async fn wrote(&self, replica: usize, id: u64, subject: &Subject, exists: bool, commit: u64) {
        let items = match subject {
            Subject::Entry { key, .. } if exists => {
                vec![(key.as_str().into(), Item { seq: commit, terms: Vec::new(), bytes: 100 })]
            }
            _ => Vec::new(),
        };
        let changes = vec![committed(id, subject, commit)];
        let token = self.db.token(id);
        // Transactions that began earlier may still be under way.
        let commit = Commit { incarnation: token.incarnation, horizon: id.min(100), witness: None, changes, items };
        self.replicas[replica].wrote(commit).await;
    }

    pub(crate) fn loads(&self) -> u64 {
        self.db.loads.load(Ordering::SeqCst)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().flatten().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn what_one_replica_loaded_another_finds() {
    let cluster = Cluster::new(2).await;
    let (_, commit) = cluster.write(0, entry("item:a", &["category:x"]), true).await;
    for replica in &cluster.replicas {
        replica.reach(Freshness::FullyConsistent).await.unwrap();
    }
    for key in [Key::item("item:absent"), list("category:x"), list("any")] {
        let loaded = cluster.read(0, key.clone()).await.unwrap();
        assert_eq!(loaded.tier, Tier::Database, "{key:?}");
        let stats = &cluster.replicas[0];
        until(|| stats.stats().l2_sets > 0).await;
        let sets = cluster.loads();
        until_found(&cluster, key, seq(&loaded)).await;
        assert!(cluster.loads() - sets <= 1);
    }
    assert_eq!(cluster.item(1, "item:a").await, (Tier::L2, Some(commit)), "written through");
    assert_eq!(cluster.item(1, "item:a").await, (Tier::L1, Some(commit)), "and promoted");
}

#[tokio::test]
async fn a_flush_waits_for_copies_that_are_written_behind() {
    let redis = Redis::start(RedisOptions::default()).await;
    let behind =
        SharedConfig { write: WritePolicy::Behind, command_timeout: Duration::from_mins(1), ..shared(redis.url()) };
    let cluster = Cluster::of(1, &behind, |db| db).await;
    let replica = &cluster.replicas[0];
    replica.flush().await;
    redis.pause();
    let look = async {
        until(|| replica.stats().l2_sets > 0).await;
        assert!(replica.flush().now_or_never().is_none(), "Redis does not have the copy yet");
        redis.resume();
        replica.flush().await;
        assert!(redis.cli(&["KEYS", "*item:a*"]).await.contains("item:a"));
    };
    tokio::join!(cluster.write(0, entry("item:a", &[]), true), look);
}

/// The proof of a copy costs nothing in Redis: the frame carries all that it takes.
#[tokio::test]
async fn a_hit_in_redis_costs_one_command() {
    const HITS: usize = 100;
    let redis = Redis::start(RedisOptions::default()).await;
    let cluster = Cluster::of(2, &shared(redis.url()), |db| db).await;
    let names: Vec<String> = (0..HITS).map(|number| format!("item:{number}")).collect();
    for name in &names {
        cluster.write(0, entry(name, &[]), true).await;
    }
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    let before = key_commands(&redis).await;
    for name in &names {
        assert_eq!(cluster.item(1, name).await.0, Tier::L2, "{name}");
    }
    let after = key_commands(&redis).await;
    let spent: HashMap<_, _> = after
        .into_iter()
        .map(|(name, calls)| (name.clone(), calls - before.get(&name).unwrap_or(&0)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    assert_eq!(spent, HashMap::from([("mget".to_owned(), HITS as u64)]));
}

/// How often each command was called, without those that replicas send whether or not somebody reads: of the bus, of heartbeats, and
/// of the keys that are read most.
async fn key_commands(redis: &Redis) -> HashMap<String, u64> {
    const UNASKED: [&str; 17] = [
        "auth",
        "client|setinfo",
        "config|get",
        "expire",
        "hello",
        "info",
        "ping",
        "psubscribe",
        "publish",
        "pubsub|numsub",
        "select",
        "subscribe",
        "unsubscribe",
        "zincrby",
        "zremrangebyrank",
        "zremrangebyscore",
        "zunionstore",
    ];
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let calls = |line: &str| {
        let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), figures.split(',').next()?.parse().unwrap()))
    };
    stats.lines().filter_map(calls).filter(|(name, _)| !UNASKED.contains(&name.as_str())).collect()
}

/// The fill comes a moment after the load.
async fn until_found(cluster: &Cluster, key: Key, expected: Option<u64>) {
    let found = cluster.read(1, key.clone()).await.unwrap();
    assert_eq!(seq(&found), expected, "{key:?}");
    assert!(matches!(found.tier, Tier::L2 | Tier::Database), "{key:?}");
}

#[tokio::test]
async fn a_write_is_learned_over_the_bus() {
    let cluster = Cluster::new(3).await;
    cluster.write(0, entry("item:a", &["category:x"]), true).await;
    for replica in 0..3 {
        cluster.item(replica, "item:a").await;
        cluster.read(replica, list("category:x")).await.unwrap();
    }
    // Nothing but the bus tells of it: no pass succeeds.
    cluster.db.fail_passes.store(true, Ordering::SeqCst);
    let (_, second) = cluster.write(0, entry("item:a", &["category:x"]), true).await;
    for replica in [1, 2] {
        until(|| cluster.replicas[replica].stats().bus_changes >= 2).await;
        until(|| cluster.replicas[replica].get("item:a").is_none()).await;
        assert!(cluster.replicas[replica].get("list:category:x").is_none());
        assert_eq!(cluster.item(replica, "item:a").await, (Tier::L2, Some(second)));
    }
}

#[tokio::test]
async fn a_change_that_the_bus_brought_drops_nothing_a_second_time() {
    let cluster = Cluster::new(2).await;
    // The bus tells it first.
    cluster.db.hold(At::Pass);
    cluster.write(0, entry("item:a", &[]), true).await;
    until(|| cluster.replicas[1].stats().bus_changes == 1).await;
    cluster.db.release(At::Pass);
    cluster.item(0, "item:a").await;
    cluster.item(1, "item:a").await;
    for replica in &cluster.replicas {
        replica.reach(Freshness::FullyConsistent).await.unwrap();
        assert!(replica.get("item:a").is_some(), "the follower found what was known");
        let stats = replica.stats();
        assert_eq!((stats.log_known, stats.log_new), (1, 0));
    }
}

#[tokio::test]
async fn every_write_policy_keeps_replicas_right() {
    for write in [WritePolicy::Through, WritePolicy::Invalidate, WritePolicy::Behind] {
        let redis = Redis::shared().await;
        let cluster = Cluster::of(2, &SharedConfig { write, ..shared(redis.url()) }, |db| db).await;
        cluster.write(0, entry("item:a", &[]), true).await;
        cluster.item(1, "item:a").await;
        let (token, commit) = cluster.write(0, entry("item:a", &[]), true).await;
        cluster.replicas[1].reach(Freshness::AtLeast(token)).await.unwrap();
        assert_eq!(cluster.item(1, "item:a").await.1, Some(commit), "{write:?}");
    }
}

#[tokio::test]
async fn a_late_fill_of_an_old_copy_is_not_taken() {
    // One of its own, since it is emptied.
    let redis = Redis::start(RedisOptions::default()).await;
    let cluster = Cluster::of(2, &shared(redis.url()), |db| db).await;
    let (_, first) = cluster.write(0, entry("item:a", &["category:x"]), true).await;
    // The last one to see the old state is held with it; it alone learns nothing of the change.
    cluster.db.hold(At::Loaded);
    redis.cli(&["FLUSHALL"]).await;
    let slow = cluster.read(0, Key::item("item:a"));
    let held = async {
        cluster.db.reached(At::Loaded, 1).await;
        let id = cluster.db.begin();
        let commit = cluster.db.commit(id, entry("item:a", &["category:x"]), true);
        cluster.replicas[1].apply(&committed(id, &entry("item:a", &["category:x"]), commit), Incarnation(1));
        cluster.db.fail_passes.store(true, Ordering::SeqCst);
        cluster.db.release(At::Loaded);
        commit
    };
    let (slow, commit) = tokio::join!(slow, held);
    assert_eq!(seq(&slow.unwrap()), Some(first));
    until(|| cluster.replicas[0].stats().l2_sets >= 2).await;
    // The right to load may have to be given back first.
    assert_eq!(cluster.item(1, "item:a").await, (Tier::Database, Some(commit)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_one_cold_key_on_all_replicas_cost_one_load() {
    let redis = Redis::shared().await;
    // The load is held for as long as the slowest replica takes to come.
    let config = SharedConfig { lease: Duration::from_mins(1), ..shared(redis.url()) };
    let cluster = Arc::new(Cluster::of(3, &config, |db| db).await);
    cluster.db.put("item:a", &[]);
    for replica in &cluster.replicas {
        replica.reach(Freshness::FullyConsistent).await.unwrap();
    }
    cluster.db.hold(At::Load);
    let readers: Vec<_> = (0..300)
        .map(|number| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { cluster.item(number % 3, "item:a").await.1 })
        })
        .collect();
    cluster.db.reached(At::Load, 1).await;
    for replica in &cluster.replicas {
        until(|| replica.stats().leases_won + replica.stats().leases_lost >= 1).await;
    }
    cluster.db.release(At::Load);
    let seen: HashSet<_> = join_all(readers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((seen.len(), cluster.loads()), (1, 1));
}

#[tokio::test]
async fn nobody_waits_on_a_dead_loader_longer_than_its_lease() {
    let redis = Redis::shared().await;
    let config = SharedConfig { lease: Duration::from_millis(200), ..shared(redis.url()) };
    // The clock of the machine: a lease is watched by it.
    let cluster = Cluster::with(vec![config.clone(); 2], Clock::system(), |db| db).await;
    cluster.db.put("item:a", &[]);
    cluster.replicas[0].reach(Freshness::FullyConsistent).await.unwrap();
    cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
    // One that ends by itself, and one that never does.
    for (name, ends) in [("item:a", true), ("item:b", false)] {
        let key = format!("{0}:{1:016x}:lease:{{{0}:{1:016x}:{name}}}", config.prefix, 1);
        redis.cli(&["SET", &key, "somebody who died"]).await;
        if ends {
            redis.cli(&["PEXPIRE", &key, "200"]).await;
        }
        let (a, b) = tokio::join!(cluster.item(0, name), cluster.item(1, name));
        assert_eq!(a.1, b.1);
    }
    assert!(cluster.loads() <= 4 && cluster.loads() >= 2);
    assert!(cluster.replicas.iter().map(|replica| replica.stats().leases_taken).sum::<u64>() >= 1);
}

#[tokio::test]
async fn without_redis_reads_and_writes_go_on() {
    let redis = Redis::start(RedisOptions::default()).await;
    let config = SharedConfig { connections: 1, ..shared(redis.url()) };
    let cluster = Cluster::of(2, &config, |db| db).await;
    let (_, first) = cluster.write(0, entry("item:a", &[]), true).await;
    assert_eq!(cluster.item(1, "item:a").await.1, Some(first));
    redis.kill();
    let (token, second) = cluster.write(0, entry("item:a", &[]), true).await;
    cluster.replicas[1].reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(cluster.item(1, "item:a").await, (Tier::Database, Some(second)));
    assert_eq!(cluster.item(1, "item:a").await, (Tier::L1, Some(second)), "L1 keeps its hits");
    redis.restart().await;
    for replica in &cluster.replicas {
        // They may not have noticed yet that it was away.
        until(|| replica.stats().bus_losses >= 1 && replica.bus_connected() == Some(true)).await;
        until(|| replica.stats().l2_errors > 0 && replica.shared_tier_up() == Some(true)).await;
    }
    let (_, third) = cluster.write(0, entry("item:b", &[]), true).await;
    until(|| cluster.replicas[1].stats().bus_changes >= 2).await;
    assert_eq!(cluster.item(1, "item:b").await, (Tier::L2, Some(third)));
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_bounded_number_of_timeouts() {
    let redis = Redis::start(RedisOptions::default()).await;
    let config = SharedConfig { command_timeout: Duration::from_millis(50), connections: 1, ..shared(redis.url()) };
    let cluster = Cluster::of(1, &config, |db| db).await;
    redis.pause();
    for number in 0..200 {
        cluster.read(0, Key::item(format!("item:{number}"))).await.unwrap();
    }
    let stats = cluster.replicas[0].stats();
    assert!(stats.l2_timeouts <= 10, "{} timeouts", stats.l2_timeouts);
    assert!(stats.l2_breaks >= 1);
    redis.resume();
    until(|| cluster.replicas[0].shared_tier_up() == Some(true)).await;
}

#[tokio::test]
async fn a_slow_redis_is_left_alone_until_its_answers_are_timely() {
    let redis = Redis::start(RedisOptions::default()).await;
    let proxy = Proxy::start(redis.address());
    // An answer is timely within a quarter of this.
    let config = SharedConfig { command_timeout: Duration::from_millis(800), connections: 1, ..shared(proxy.url()) };
    let cluster = Cluster::of(1, &config, |db| db).await;
    let replica = &cluster.replicas[0];
    proxy.set(Faults { reply_delay: Duration::from_millis(500), ..Faults::default() });
    for number in 0..50 {
        cluster.read(0, Key::item(format!("item:{number}"))).await.unwrap();
    }
    assert!(replica.stats().l2_breaks >= 1);
    let delayed = proxy.counts().replies_delayed;
    until(|| proxy.counts().replies_delayed >= delayed + 3).await;
    assert_eq!(replica.shared_tier_up(), Some(false), "answers that come late close no breaker");
    proxy.set(Faults::default());
    until(|| replica.shared_tier_up() == Some(true)).await;
}

#[tokio::test]
async fn a_flood_of_absent_keys_leaves_few_absences_in_redis() {
    let cluster = Cluster::new(1).await;
    // The clock of the cluster stands still, so that the replica earns no further absence.
    for number in 0..1_000 {
        assert_eq!(cluster.item(0, &format!("item:none:{number}")).await.1, None);
    }
    assert_eq!(cluster.replicas[0].stats().l2_sets, 200);
    cluster.write(0, entry("item:a", &[]), true).await;
    assert!(cluster.item(0, "item:a").await.1.is_some());
}

#[tokio::test]
async fn a_redis_that_refuses_to_store_fails_nothing() {
    let settings =
        vec![("maxmemory".to_owned(), "1mb".to_owned()), ("maxmemory-policy".to_owned(), "noeviction".to_owned())];
    let redis = Redis::start(RedisOptions { settings, ..RedisOptions::default() }).await;
    let cluster = Cluster::of(2, &shared(redis.url()), |db| db).await;
    let (token, commit) = cluster.write(0, entry("item:a", &[]), true).await;
    cluster.replicas[1].reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(cluster.item(1, "item:a").await.1, Some(commit));
    assert!(cluster.replicas[0].stats().l2_refused > 0, "it was full");
    until(|| cluster.replicas[1].stats().bus_changes >= 1).await;
}

/// A Redis that may answer with any frame it was ever given, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adversary_for_a_redis_changes_nothing() {
    let redis = Redis::start(RedisOptions::default()).await;
    let mut l2_hits = 0;
    for seed in 0..20 {
        let proxy = Proxy::start(redis.address());
        proxy.set(Faults { replay: 0.3, ..Faults::default() });
        let cluster = Arc::new(Cluster::of(3, &shared(proxy.url()), |db| db).await);
        play(&cluster, seed).await;
        l2_hits += cluster.replicas.iter().map(|replica| replica.stats().l2_hits).sum::<u64>();
        assert!(proxy.counts().replayed > 0, "the adversary did nothing");
    }
    assert!(l2_hits > 100, "only {l2_hits} copies came from Redis");
}

/// The items that [`play`] reads and writes.
pub(crate) const ITEMS: [&str; 3] = ["item:a", "item:b", "item:c"];

/// Replicas, writers and readers in any order. A read that begins after a replica has learned of a commit, or that carries a token,
/// shows that commit or a later one.
pub(crate) async fn play(cluster: &Arc<Cluster>, seed: u64) {
    const TERMS: [&str; 2] = ["category:x", "category:y"];
    let players = (0..6_u64).map(|player| {
        let cluster = Arc::clone(cluster);
        tokio::spawn(async move {
            let mut random = SmallRng::seed_from_u64(seed * 100 + player);
            for _ in 0..60 {
                let replica = random.random_range(0..cluster.replicas.len());
                let item = *ITEMS.choose(&mut random).unwrap();
                let term = *TERMS.choose(&mut random).unwrap();
                if player < 2 && random.random_bool(0.4) {
                    let exists = random.random_bool(0.8);
                    let (token, commit) = cluster.write(replica, entry(item, &[term]), exists).await;
                    // Who wrote sees it at once where it was written, and elsewhere with the token.
                    let other = random.random_range(0..cluster.replicas.len());
                    if other != replica {
                        cluster.replicas[other].reach(Freshness::AtLeast(token)).await.unwrap();
                    }
                    expect(&cluster, other, item, term, commit).await;
                    continue;
                }
                let floors = [cluster.db.committed(item), cluster.db.committed(term)];
                if random.random_bool(0.3) {
                    cluster.replicas[replica].reach(Freshness::FullyConsistent).await.unwrap();
                    expect(&cluster, replica, item, term, floors[0].min(floors[1])).await;
                    let found = cluster.item(replica, item).await.1;
                    check(&cluster, item, found, floors[0]);
                } else {
                    let _ = cluster.item(replica, item).await;
                }
            }
        })
    });
    for player in players.collect::<Vec<_>>() {
        player.await.unwrap();
    }
}

async fn expect(cluster: &Cluster, replica: usize, item: &str, term: &str, commit: u64) {
    let found = cluster.item(replica, item).await.1;
    check(cluster, item, found, commit);
    let found = seq(&cluster.read(replica, list(term)).await.unwrap());
    assert!(found >= Some(commit), "{term} shows {found:?}, not {commit} or later");
}

/// An absence is right if the item was absent at some moment from the commit on.
fn check(cluster: &Cluster, item: &str, found: Option<u64>, floor: u64) {
    match found {
        Some(found) => assert!(found >= floor, "{item} shows {found}, not {floor} or later"),
        None => {
            let history = cluster.db.history(item);
            let at_floor = history.iter().rev().find(|point| point.seq <= floor).is_none_or(|point| !point.exists);
            let later = history.iter().any(|point| point.seq >= floor && !point.exists);
            assert!(at_floor || later, "{item} is missing, but existed from {floor} on");
        }
    }
}
