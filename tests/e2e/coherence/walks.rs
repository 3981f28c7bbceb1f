//! Random walks over lives of a SQLite file: writes, backups and restores of any of them, running and stopped, replicas that go on, stop
//! and crash, and a Redis that returns any frame it was ever given.
//!
//! A replica that has looked at the change log since the last restore must return, as fresh, only what the database has had since that
//! look; and take a token if, and only if, the database has its commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use larder_cache::{Cache, CacheConfig, Clock, Freshness, ReadError, SharedConfig, Token};
use larder_proto::catalog::Product;
use larder_server::{
    catalog::{Catalog, Copy},
    contract::{Read, parse_id},
};
use larder_storage::{
    ProductData, ProductMask, ProductRepository as _, Repository, StorageConfig, Update, WriteOptions,
};
use larder_test_servers::{Faults, Proxy, Redis, RedisOptions, TempDir};
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::{process::Command, runtime::Handle, task::JoinHandle};

use crate::harness::eventually;

const KEYS: [&str; 2] = ["a", "b"];
const STEPS: usize = 120;

struct Replica {
    catalog: Catalog,
    repository: Arc<Repository>,
    tasks: Vec<JoinHandle<()>>,
    /// The step of its last look that is known of.
    looked: usize,
}

/// What the database has had: of each key the states, each since a step.
type States = BTreeMap<&'static str, Vec<(usize, Option<String>)>>;

struct Backup {
    file: PathBuf,
    content: BTreeMap<&'static str, Option<String>>,
    commits: BTreeSet<usize>,
}

struct World {
    random: SmallRng,
    directory: TempDir,
    shared: SharedConfig,
    replicas: [Option<Replica>; 2],
    states: States,
    /// The commits that the database has, by the steps that made them.
    commits: BTreeSet<usize>,
    tokens: Vec<(usize, Token)>,
    backups: Vec<Backup>,
    restored: usize,
    step: usize,
    judged: usize,
    told: usize,
}

impl World {
    fn new(seed: u64, url: String) -> Self {
        let shared = SharedConfig {
            url,
            prefix: format!("walk-{seed}"),
            command_timeout: Duration::from_secs(5),
            ..SharedConfig::default()
        };
        Self {
            random: SmallRng::seed_from_u64(seed),
            directory: TempDir::new("walk"),
            shared,
            replicas: [None, None],
            states: KEYS.iter().map(|&key| (key, vec![(0, None)])).collect(),
            commits: BTreeSet::new(),
            tokens: Vec::new(),
            backups: Vec::new(),
            restored: 0,
            step: 0,
            judged: 0,
            told: 0,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("larder.db")
    }

    async fn start(&mut self, number: usize) {
        let url = format!("sqlite:{}", self.file().display());
        let repository = Arc::new(Repository::connect(&StorageConfig::new(url)).await.expect("the file to be opened"));
        let config = CacheConfig { shared: Some(self.shared.clone()), ..CacheConfig::default() };
        let seed = self.random.random();
        let cache: Cache<Copy> = Cache::sharing(config, Clock::system(), Handle::current(), seed).expect("a cache");
        let catalog = Catalog::new(cache.clone(), Arc::clone(&repository), Handle::current());
        let log = Arc::new(catalog.log());
        let tasks = vec![tokio::spawn(cache.clone().share()), tokio::spawn(cache.clone().follow(log))];
        cache.first_pass().await.expect("a first look");
        eventually("Redis", async || cache.shared_tier_up() == Some(true)).await;
        self.replicas[number] = Some(Replica { catalog, repository, tasks, looked: self.step });
    }

    async fn end(&mut self, number: usize, clean: bool) {
        let Some(replica) = self.replicas[number].take() else { return };
        replica.tasks.iter().for_each(JoinHandle::abort);
        if clean {
            replica.repository.close().await;
        }
    }

    async fn write(&mut self, number: usize) {
        let key = *KEYS.choose(&mut self.random).expect("a key");
        let gone = self.random.random_bool(0.2);
        let name = format!("{}-{}", self.step, self.random.random::<u32>());
        let Some(replica) = &self.replicas[number] else { return };
        let token = if gone {
            replica.catalog.delete(key.to_owned(), None).await.expect("a deletion").token
        } else {
            let data = ProductData { name: name.clone(), ..ProductData::default() };
            let (id, mask) = (key.to_owned(), ProductMask::ALL);
            let update = Update { id, data, mask, version: None, allow_missing: true };
            replica.catalog.update(update, WriteOptions::default()).await.expect("an update").token
        };
        let before = self.state(key, usize::MAX);
        if gone && before.is_none() {
            return;
        }
        self.states.get_mut(key).expect("a key").push((self.step, (!gone).then_some(name)));
        self.commits.insert(self.step);
        self.tokens.push((self.step, token.expect("a token")));
    }

    /// What a key was at a step.
    fn state(&self, key: &str, step: usize) -> Option<String> {
        self.states[key].iter().rev().find(|(since, _)| *since <= step).and_then(|(_, state)| state.clone())
    }

    async fn read(&mut self, number: usize) {
        let key = *KEYS.choose(&mut self.random).expect("a key");
        let Some(replica) = &self.replicas[number] else { return };
        let id = parse_id("id", key.to_owned()).expect("an id");
        let Ok(found) = replica.catalog.product(id, Read::default()).await else { return };
        if found.stale || replica.looked <= self.restored {
            return;
        }
        let shown = found.entry.value.as_ref().map(|copy| match copy {
            Copy::Product(bytes) => Product::decode(bytes.clone()).expect("a product").name,
            Copy::Page(_) | Copy::Unreadable(_) => panic!("a product was asked for"),
        });
        let later =
            self.states[key].iter().filter(|(since, _)| *since > replica.looked).map(|(_, state)| state.clone());
        let right: Vec<_> = later.chain([self.state(key, replica.looked)]).collect();
        self.judged += 1;
        assert!(
            right.contains(&shown),
            "step {}: {key} from {:?} is {shown:?}, not of {right:?}",
            self.step,
            found.tier
        );
    }

    async fn ask(&mut self, number: usize) {
        let Some(&(commit, token)) = self.tokens.choose(&mut self.random) else { return };
        let Some(replica) = &self.replicas[number] else { return };
        if replica.looked <= self.restored {
            return;
        }
        let reached = replica.catalog.cache().reach(Freshness::AtLeast(token)).await;
        if reached == Err(ReadError::NoPass) {
            return;
        }
        self.told += 1;
        let here = self.commits.contains(&commit);
        assert_eq!(reached.is_ok(), here, "step {}: the token of step {commit} {token:?}: {reached:?}", self.step);
    }

    async fn look(&mut self, number: usize) {
        let step = self.step;
        let Some(replica) = &mut self.replicas[number] else { return };
        if replica.catalog.cache().reach(Freshness::FullyConsistent).await.is_ok() {
            replica.looked = step;
        }
    }

    async fn sqlite3(&self, command: String) {
        let mut shell = Command::new("sqlite3");
        shell.args(["-batch", "-bail", "-cmd", ".timeout 10000"]).arg(self.file()).arg(command);
        let done = shell.stdin(Stdio::null()).output().await.expect("the sqlite3 shell");
        assert!(done.status.success(), "{done:?}");
    }

    async fn back_up(&mut self) {
        let file = self.directory.join(format!("backup-{}", self.step));
        self.sqlite3(format!(".backup '{}'", file.display())).await;
        let content = KEYS.iter().map(|&key| (key, self.state(key, usize::MAX))).collect();
        self.backups.push(Backup { file, content, commits: self.commits.clone() });
        if self.backups.len() > 4 {
            self.backups.remove(0);
        }
    }

    async fn put_back(&mut self) {
        if self.backups.is_empty() {
            return;
        }
        let chosen = self.random.random_range(0..self.backups.len());
        if self.random.random_bool(0.5) {
            self.sqlite3(format!(".restore '{}'", self.backups[chosen].file.display())).await;
        } else {
            for number in 0..self.replicas.len() {
                self.end(number, true).await;
            }
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{suffix}", self.file().display()));
            }
            let content = fs::read(&self.backups[chosen].file).expect("the backup");
            fs::write(self.file(), content).expect("the file to be written");
        }
        for (key, state) in self.backups[chosen].content.clone() {
            self.states.get_mut(key).expect("a key").push((self.step, state));
        }
        self.commits = self.backups[chosen].commits.clone();
        self.restored = self.step;
    }

    async fn walk(&mut self) {
        self.start(0).await;
        self.start(1).await;
        for step in 1..=STEPS {
            self.step = step;
            let number = self.random.random_range(0..self.replicas.len());
            match self.random.random_range(0..100) {
                0..22 => self.write(number).await,
                22..40 => self.look(number).await,
                40..70 => self.read(number).await,
                70..78 => self.ask(number).await,
                78..86 => {
                    if let Some(replica) = &self.replicas[number] {
                        replica.catalog.cache().clear();
                    }
                }
                86..90 => self.back_up().await,
                90..94 => self.put_back().await,
                94..96 => self.end(number, true).await,
                96..97 => self.end(number, false).await,
                _ if self.replicas[number].is_none() => self.start(number).await,
                _ => {}
            }
            if self.replicas.iter().all(Option::is_none) {
                self.start(number).await;
            }
        }
        for number in 0..self.replicas.len() {
            self.end(number, true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_walk_over_lives_shows_a_lost_one() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (first, walks) = (number("LARDER_FIRST_WALK", 0), number("LARDER_WALKS", 25));
    let redis = Redis::start(RedisOptions::default()).await;
    let (mut judged, mut told) = (0, 0);
    for seed in first..first + walks {
        let proxy = Proxy::start(redis.address());
        proxy.set(Faults { replay: 0.5, ..Faults::default() });
        let mut world = World::new(seed, proxy.url());
        println!("walk {seed}");
        world.walk().await;
        judged += world.judged;
        told += world.told;
    }
    println!("{walks} walks of {STEPS} steps: {judged} reads and {told} tokens judged, none wrong");
    assert!(judged > usize::try_from(walks).expect("few") * 5 && told > usize::try_from(walks).expect("few"));
}
