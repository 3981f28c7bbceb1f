//! Construction: wires the rooms together.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Cache, Rooms, SharedRooms};
use crate::{
    bus::{Publisher, SharedWrites, Subscriber, SubscriberParts},
    changelog::{Commits, Continuity, Follower, FollowerLimits, Progress},
    config::{ActivePolicies, CacheConfig},
    hot_keys::{HotKeySketch, Prefetch, SharedHotKeys},
    l1::{L1, Value},
    l2::L2,
    peers::{PeerParts, Peers},
    read::{Breaker, ReadPath, SharedAbsences, SingleFlight},
    stats::Counters,
    time::{Clock, Jitter},
    turns::Turns,
    validity::{Applier, RecentChanges, Validity},
};

/// Keys and terms that the history remembers where no copies are shared. The history then judges the results of a standby.
const REMEMBERED_ALONE: usize = 50_000;

impl<V: Value> Cache<V> {
    /// Creates an empty cache of this process alone. Loads run on `runtime`, so that none is lost with the reader who started it.
    /// `seed` feeds the jitter and decides which keys share a stripe; a service draws it at random.
    pub fn new(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64) -> Self {
        let counters = Arc::new(Counters::default());
        Self::build(CacheConfig { shared: None, ..config }, Base { clock, runtime, seed, counters, l2: None })
    }

    /// Creates an empty cache that shares copies and changes with other replicas, if the configuration names a shared tier. `seed`
    /// also identifies this replica. The cache takes part once [`share`](Self::share) runs. The error describes an invalid URL.
    pub fn sharing(config: CacheConfig, clock: Clock, runtime: Handle, seed: u64) -> Result<Self, String> {
        let counters = Arc::new(Counters::default());
        let l2 = config.shared.as_ref().map(|shared| L2::new(shared, seed, Arc::clone(&counters))).transpose()?;
        Ok(Self::build(config, Base { clock, runtime, seed, counters, l2: l2.map(Arc::new) }))
    }

    fn build(config: CacheConfig, base: Base) -> Self {
        let Base { clock, runtime, seed, counters, l2 } = base;
        let jitter = Arc::new(Jitter::new(seed));
        let remembered = config.shared.as_ref().map_or(REMEMBERED_ALONE, |shared| shared.remembered);
        let validity = Arc::new(Validity::new(config.l1_entries, seed, remembered));
        let prefetch = Arc::new(Prefetch::new(config.prefetch, config.l1_entries, Arc::clone(&counters)));
        let departed = Arc::clone(&prefetch);
        let l1 = Arc::new(L1::new(&config, &counters, Arc::new(move |name, reads| departed.lost(name, reads))));
        let recent = Arc::new(RecentChanges::new(clock.clone()));
        let applier = Applier::new(Arc::clone(&validity), Arc::clone(&l1), Arc::clone(&counters), Arc::clone(&recent));
        let applier = Arc::new(applier);
        let progress = Arc::new(Progress::new());
        let commits = Arc::new(Commits::new(Arc::clone(&validity), Arc::clone(&progress), config.load_timeout));
        let follower = Follower {
            validity: Arc::clone(&validity),
            applier: Arc::clone(&applier),
            progress: Arc::clone(&progress),
            commits: Arc::clone(&commits),
            counters: Arc::clone(&counters),
            clock: clock.clone(),
            jitter: Arc::clone(&jitter),
            continuity: Continuity::default(),
            limits: FollowerLimits {
                staleness_bound: config.staleness_bound,
                max_changes_per_pass: config.max_changes_per_pass,
            },
        };
        let peers = Arc::new(Peers::new(PeerParts {
            l2: l2.clone(),
            commits: Arc::clone(&commits),
            counters: Arc::clone(&counters),
            clock: clock.clone(),
            jitter: Arc::clone(&jitter),
            runtime: runtime.clone(),
        }));
        let reads = Arc::new(ReadPath {
            policies: ActivePolicies::new(config.policies.clone()),
            clock: clock.clone(),
            jitter,
            counters: Arc::clone(&counters),
            validity: Arc::clone(&validity),
            l1,
            l2,
            progress: Arc::clone(&progress),
            hot_keys: Arc::new(HotKeySketch::new(clock.now(), seed)),
            prefetch,
            single_flight: Arc::new(SingleFlight::new()),
            turns: Turns::new(config.max_loads, config.max_waiting_loads),
            breaker: Breaker::new(config.soft_load_timeout()),
            absences: SharedAbsences::new(clock.now()),
            runtime,
            config,
        });
        let shared = reads.l2.as_ref().map(|l2| SharedRooms::new(l2, &reads, &applier, &peers));
        let publisher = Publisher { validity, applier: Arc::clone(&applier), shared: shared_writes(&reads), counters };
        Self {
            reads,
            rooms: Arc::new(Rooms { applier, recent, progress, commits, follower, publisher, peers, shared }),
        }
    }
}

/// What a write does to the copies in L2; `None` where there is no Redis.
fn shared_writes<V: Value>(reads: &Arc<ReadPath<V>>) -> Option<SharedWrites<V>> {
    let (l2, config) = reads.l2.clone().zip(reads.config.shared.as_ref())?;
    let fills = Arc::clone(reads);
    let fill = Box::new(move |name, item: &V, origin| fills.fill_item(name, item, origin));
    Some(SharedWrites { l2, policy: config.write, fill })
}

/// What a cache is built upon.
struct Base {
    clock: Clock,
    runtime: Handle,
    seed: u64,
    counters: Arc<Counters>,
    l2: Option<Arc<L2>>,
}

impl<V: Value> SharedRooms<V> {
    fn new(l2: &Arc<L2>, reads: &Arc<ReadPath<V>>, applier: &Arc<Applier<L1<V>>>, peers: &Arc<Peers>) -> Self {
        let subscriber = Subscriber::new(SubscriberParts {
            l2: Arc::clone(l2),
            validity: Arc::clone(&reads.validity),
            applier: Arc::clone(applier),
            progress: Arc::clone(&reads.progress),
            peers: Arc::clone(peers),
            counters: Arc::clone(&reads.counters),
            clock: reads.clock.clone(),
            jitter: Arc::clone(&reads.jitter),
            staleness_bound: reads.config.staleness_bound,
            queue: reads.config.shared.as_ref().map_or(1, |shared| shared.bus_queue),
        });
        Self { l2: Arc::clone(l2), subscriber, hot_keys: SharedHotKeys::new(Arc::clone(l2), Arc::clone(&reads.jitter)) }
    }
}
