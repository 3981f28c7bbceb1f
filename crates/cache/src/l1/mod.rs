//! L1: copies in the memory of this process.

mod entry;
mod expiry;

use std::{sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use moka::{
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::{Cache as Moka, CacheBuilder},
};

use crate::{
    config::{CacheConfig, Eviction},
    stats::Counters,
    time::Moment,
    validity::{Copies, Validity},
};

pub use entry::{Entry, Facts, Tier, Value};
pub(crate) use entry::{MOST_READS, NewEntry, Provenance, ReadCount};
pub(crate) use expiry::{Expiry, Reload, Stage};

/// Copies by key, in two stores: one for values and one for absences, so that a flood of reads of absent keys evicts no value.
pub(crate) struct L1<V> {
    found: Store<V>,
    not_found: Store<V>,
    capacity: u64,
    on_departure: OnDeparture,
    counters: Arc<Counters>,
}

/// Is told the name and the reads of every copy that leaves L1 while its reads are counted. Called on evictions and removals,
/// never on a hit.
pub(crate) type OnDeparture = Arc<dyn Fn(&Arc<str>, ReadCount) + Send + Sync>;

type Builder<V> = CacheBuilder<Arc<str>, Arc<Entry<V>>, Moka<Arc<str>, Arc<Entry<V>>>>;
type Store<V> = Moka<Arc<str>, Arc<Entry<V>>, RandomState>;

impl<V: Value> L1<V> {
    pub(crate) fn new(config: &CacheConfig, counters: &Arc<Counters>, on_departure: OnDeparture) -> Self {
        let capacity = config.l1_bytes;
        let least = (capacity / config.l1_entries.max(1)).max(1);
        let policy = match config.eviction {
            Eviction::Lru => EvictionPolicy::lru(),
            Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
        };
        let policies = &config.policies;
        let longest = policies.item.ttl.max(policies.list.ttl).max(policies.search.ttl);
        let found = Moka::builder()
            .max_capacity(capacity)
            .weigher(move |_: &Arc<str>, entry: &Arc<Entry<V>>| {
                u32::try_from((entry.weight() as u64).max(least)).unwrap_or(u32::MAX)
            })
            .eviction_policy(policy);
        let not_found = Moka::builder().max_capacity(config.not_found_entries).eviction_policy(EvictionPolicy::lru());
        let kept = |ttl: Duration| ttl.saturating_add(config.max_stale);
        Self {
            found: finish(found, kept(longest), &on_departure, counters),
            not_found: finish(not_found, kept(policies.not_found.ttl), &on_departure, counters),
            capacity,
            on_departure,
            counters: Arc::clone(counters),
        }
    }

    /// The copy of a key, valid or not.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry<V>>> {
        self.found.get(key).or_else(|| self.not_found.get(key))
    }

    /// Stores a copy, unless a change that touches the copy was applied since the copy was read. The check runs under the lock of
    /// the key, so that of two concurrent fills the more recent one stays. A copy larger than all of L1 is not stored, since it
    /// would evict everything else first.
    pub(crate) fn store(&self, entry: &Arc<Entry<V>>, validity: &Validity) -> bool {
        let (store, other) = match entry.value {
            Some(_) if entry.weight() as u64 > self.capacity => return false,
            Some(_) => (&self.found, &self.not_found),
            None => (&self.not_found, &self.found),
        };
        let mut stored = false;
        store.entry(Arc::clone(entry.shared_name())).and_compute_with(|present| {
            stored = entry.stands(validity);
            if let Some(present) = present.filter(|_| stored) {
                entry.succeed(present.value());
            }
            if stored { Op::Put(Arc::clone(entry)) } else { Op::Nop }
        });
        if stored {
            other.invalidate(entry.name());
        }
        stored
    }

    /// Removes a useless entry, unless another one has replaced it. Returns whether the entry was there.
    pub(crate) fn discard(&self, entry: &Arc<Entry<V>>) -> bool {
        let store = if entry.value.is_some() { &self.found } else { &self.not_found };
        let result = store.entry(Arc::clone(entry.shared_name())).and_compute_with(|present| match present {
            Some(present) if Arc::ptr_eq(present.value(), entry) => Op::Remove,
            _ => Op::Nop,
        });
        let removed = matches!(result, CompResult::Removed(_));
        if removed {
            leave(entry, &self.on_departure);
        }
        removed
    }

    /// Every copy, valid or not, with the name of its key. The iterator holds no lock between copies, and may miss copies that are
    /// stored meanwhile.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Arc<Arc<str>>, Arc<Entry<V>>)> {
        self.found.iter().chain(self.not_found.iter())
    }

    /// Removes the expired copies. Returns how many.
    pub(crate) fn purge(&self, now: Moment) -> u64 {
        let mut purged = 0;
        for (_, entry) in self.entries() {
            if entry.expires() <= now && self.discard(&entry) {
                purged += 1;
            }
        }
        self.found.run_pending_tasks();
        self.not_found.run_pending_tasks();
        self.counters.expired.add(purged);
        purged
    }

    /// The number of copies, and their weight in bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.found.run_pending_tasks();
        self.not_found.run_pending_tasks();
        (self.found.entry_count() + self.not_found.entry_count(), self.found.weighted_size())
    }
}

impl<V: Value> Copies for L1<V> {
    fn remove(&self, key: &str) -> bool {
        let found = self.found.remove(key);
        if let Some(entry) = &found {
            leave(entry, &self.on_departure);
        }
        self.not_found.remove(key).is_some() || found.is_some()
    }

    fn clear(&self) {
        self.found.invalidate_all();
        self.not_found.invalidate_all();
    }
}

/// moka panics over a time to live of more than a thousand years.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Applies the settings that both stores share. moka's time to live only frees memory: the deadline of an entry decides whether
/// the entry may be served, and an expired entry may still be useful while the database is unavailable.
fn finish<V: Value>(
    builder: Builder<V>,
    kept: Duration,
    on_departure: &OnDeparture,
    counters: &Arc<Counters>,
) -> Store<V> {
    let (on_departure, counters) = (Arc::clone(on_departure), Arc::clone(counters));
    builder
        .time_to_live(kept.min(LONGEST))
        .eviction_listener(move |_, entry, cause| match cause {
            RemovalCause::Size => {
                counters.evicted.one();
                leave(&entry, &on_departure);
            }
            RemovalCause::Expired => counters.freed.one(),
            RemovalCause::Explicit | RemovalCause::Replaced => {}
        })
        .build_with_hasher(RandomState::default())
}

/// Reports that an entry has left L1.
fn leave<V: Value>(entry: &Entry<V>, on_departure: &OnDeparture) {
    if let Some(reads) = entry.reads() {
        on_departure(entry.shared_name(), reads);
    }
}
