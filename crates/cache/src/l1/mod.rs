//! L1: copies in the memory of this process.

pub(crate) mod expiry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use moka::{
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::{Cache as Moka, CacheBuilder},
};

use crate::{
    CacheConfig, Counters, Eviction, Moment, Tier,
    hot_keys::prefetch::{MOST_READS, Past, Prefetch},
    l1::expiry::{Ageing, Life, Stage},
    validity::rules::Rule,
    validity::{Stripes, Validity, ValidityStamp},
};

/// What the cache must know of a value.
pub trait Value: Send + Sync + 'static {
    /// The bytes it takes.
    fn bytes(&self) -> usize;

    /// Whether dropping everything that has this term drops it. What cannot tell says yes.
    fn has(&self, term: &str) -> bool;

    /// What other replicas judge it by.
    fn facts(&self) -> Facts;

    /// Its bytes, for other replicas.
    fn encode(&self) -> Bytes;

    /// Whether other replicas get it. What cannot be read is looked at by each.
    fn is_shared(&self) -> bool {
        true
    }

    /// Reads what [`encode`](Self::encode) wrote of a list or an item, perhaps in another release; `None` for what cannot be
    /// read.
    fn decode(bytes: Bytes, list: bool) -> Option<Self>
    where
        Self: Sized;
}

/// What a copy of a value is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The version of an item: for one key strictly rising while it exists. Of no meaning for a list.
    pub version: i64,
    /// The names of the terms that an item has.
    pub terms: Vec<String>,
}

/// A copy in L1: a value, or the fact that there is none.
#[derive(Debug)]
pub struct Entry<V> {
    /// The value; `None` stands for "not found".
    pub value: Option<V>,
    /// When the load that read it began; of a copy from L2, when it came from there.
    pub began: Moment,
    /// When it expires at the latest.
    pub deadline: Moment,
    /// From here on it may have expired, or be due to be loaded anew.
    pub(crate) due: Moment,
    ageing: Ageing,
    /// Whether it comes from another database than the one followed: it is served marked stale and never stored.
    pub(crate) foreign: bool,
    /// Where it came from.
    pub(crate) tier: Tier,
    /// Of its key, for rules that go by that; empty for what is stored nowhere.
    name: Arc<str>,
    stripes: Stripes,
    generation: u64,
    rules: AtomicU64,
    /// How often it was read, up to [`MOST_READS`], with the bits below. A read that finds more has nothing to write.
    reads: AtomicU8,
}

/// It was loaded before anybody asked, and nobody has read it.
const AHEAD: u8 = 0x80;
/// Its reads are not counted.
const UNCOUNTED: u8 = 0x40;

impl<V: Value> Entry<V> {
    /// A copy under the name of its key, read by a load that began at `began`, after `captured` was.
    pub(crate) fn new(
        name: &str,
        value: Option<V>,
        stamp: ValidityStamp,
        began: Moment,
        life: Life,
        tier: Tier,
        foreign: bool,
    ) -> Self {
        let deadline = began.plus(life.ttl);
        Self {
            value,
            began,
            due: life.due(began),
            deadline,
            ageing: life.ageing(),
            foreign,
            tier,
            name: name.into(),
            stripes: stamp.stripes,
            generation: stamp.generation,
            rules: AtomicU64::new(stamp.rules),
            reads: AtomicU8::new(UNCOUNTED),
        }
    }

    /// The name of its key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Has its reads counted, on from those before it.
    pub(crate) fn count_reads(&mut self, past: Past) {
        self.reads = AtomicU8::new(past.reads | if past.ahead { AHEAD } else { 0 });
    }

    /// Counts a read; returns whether it is the first of a copy that was loaded ahead. Where two meet, one may not count.
    pub(crate) fn note_read(&self) -> bool {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads < MOST_READS {
            self.reads.store(reads + 1, Ordering::Relaxed);
        }
        reads & AHEAD != 0 && self.reads.fetch_and(!AHEAD, Ordering::Relaxed) & AHEAD != 0
    }

    /// Counts on from another copy of the same key.
    fn succeed(&self, other: &Self) {
        let reads = other.reads.load(Ordering::Relaxed) & MOST_READS;
        if self.reads.load(Ordering::Relaxed) & UNCOUNTED == 0 {
            self.reads.fetch_max(reads, Ordering::Relaxed);
        }
    }

    /// Tells what there was of it.
    fn leave(&self, prefetch: &Prefetch, counters: &Counters) {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads & UNCOUNTED == 0 {
            prefetch.lost(&self.name, reads & MOST_READS, reads & AHEAD != 0, counters);
        }
    }

    /// The moment of which it is known without the change log that it was right: when its load from the database began.
    pub(crate) fn own_proof(&self) -> Moment {
        if self.tier == Tier::Database { self.began } else { Moment::NEVER }
    }

    /// Whether nothing that touches it was learned since before it was read.
    pub(crate) fn stands(&self, validity: &Validity) -> bool {
        validity.generation(self.stripes) == self.generation
            && (self.rules.load(Ordering::Relaxed) == validity.rules().counter() || self.passes_rules(validity))
    }

    /// Matches the rules learned since, once.
    #[cold]
    fn passes_rules(&self, validity: &Validity) -> bool {
        let seen = self.rules.load(Ordering::Relaxed);
        let (touched, counter) = validity.rules().touched(seen, |rule| self.touched_by(rule));
        if !touched {
            self.rules.fetch_max(counter, Ordering::Relaxed);
        }
        !touched
    }

    /// Whether a rule drops it.
    pub(crate) fn touched_by(&self, rule: &Rule) -> bool {
        match rule {
            // That there was nothing does not tell what terms there are now.
            Rule::Term(term) => self.value.as_ref().is_none_or(|value| value.has(term)),
            Rule::Pattern(glob) => self.name.is_empty() || glob.matches(&self.name),
            Rule::All => true,
        }
    }

    /// When it expires, if it is not read until then.
    pub fn expires(&self) -> Moment {
        self.ageing.expires(self.began, self.deadline)
    }

    /// How it stands with its time, for a reader who can load it anew or cannot.
    #[cold]
    pub(crate) fn stage(&self, now: Moment, can_load: bool, chance: impl FnOnce() -> f64) -> Stage {
        self.ageing.stage(self.began, self.deadline, now, can_load, chance)
    }

    fn weight(&self) -> usize {
        self.name.len() + self.value.as_ref().map_or(0, Value::bytes)
    }
}

/// Entries by key, in two stores: what exists, and what does not, so that a flood of reads of absent keys evicts nothing.
pub(crate) struct L1<V> {
    found: Store<V>,
    not_found: Store<V>,
    capacity: u64,
    prefetch: Arc<Prefetch>,
    counters: Arc<Counters>,
}

type Builder<V> = CacheBuilder<Arc<str>, Arc<Entry<V>>, Moka<Arc<str>, Arc<Entry<V>>>>;
type Store<V> = Moka<Arc<str>, Arc<Entry<V>>, RandomState>;

impl<V: Value> L1<V> {
    pub(crate) fn new(config: &CacheConfig, prefetch: &Arc<Prefetch>, counters: &Arc<Counters>) -> Self {
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
        Self {
            found: finish(found, longest, config.max_stale, prefetch, counters),
            not_found: finish(not_found, policies.not_found.ttl, config.max_stale, prefetch, counters),
            capacity,
            prefetch: Arc::clone(prefetch),
            counters: Arc::clone(counters),
        }
    }

    /// The entry of a key, valid or not.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry<V>>> {
        self.found.get(key).or_else(|| self.not_found.get(key))
    }

    /// Stores an entry, unless something that touches it was learned since before it was read: checked under the key's
    /// lock, so that of two fills the one that knows more stays. What is larger than all of L1 is not stored: it would
    /// drive out everything else first.
    pub(crate) fn store(&self, entry: &Arc<Entry<V>>, validity: &Validity) -> bool {
        let (store, other) = match entry.value {
            Some(_) if entry.weight() as u64 > self.capacity => return false,
            Some(_) => (&self.found, &self.not_found),
            None => (&self.not_found, &self.found),
        };
        let mut stored = false;
        store.entry(Arc::clone(&entry.name)).and_compute_with(|present| {
            stored = entry.stands(validity);
            if let Some(present) = present.filter(|_| stored) {
                entry.succeed(present.value());
            }
            if stored { Op::Put(Arc::clone(entry)) } else { Op::Nop }
        });
        if stored {
            other.invalidate(&*entry.name);
        }
        stored
    }

    /// Removes a key.
    pub(crate) fn remove(&self, key: &str) -> bool {
        let found = self.found.remove(key);
        if let Some(entry) = &found {
            entry.leave(&self.prefetch, &self.counters);
        }
        self.not_found.remove(key).is_some() || found.is_some()
    }

    /// Removes an entry that is of no more use, unless another has taken its place. Returns whether it was there.
    pub(crate) fn discard(&self, entry: &Arc<Entry<V>>) -> bool {
        let store = if entry.value.is_some() { &self.found } else { &self.not_found };
        let result = store.entry(Arc::clone(&entry.name)).and_compute_with(|present| match present {
            Some(present) if Arc::ptr_eq(present.value(), entry) => Op::Remove,
            _ => Op::Nop,
        });
        let removed = matches!(result, CompResult::Removed(_));
        if removed {
            entry.leave(&self.prefetch, &self.counters);
        }
        removed
    }

    /// Removes every entry.
    pub(crate) fn clear(&self) {
        self.found.invalidate_all();
        self.not_found.invalidate_all();
    }

    /// Every entry, valid or not, with the name of its key. Holds no lock from one to the next, and so may miss what is stored
    /// meanwhile.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Arc<Arc<str>>, Arc<Entry<V>>)> {
        self.found.iter().chain(self.not_found.iter())
    }

    /// Removes the entries whose time has passed; returns how many.
    pub(crate) fn purge(&self, now: Moment) -> u64 {
        let mut purged = 0;
        for (_, entry) in self.entries() {
            if entry.expires() <= now && self.discard(&entry) {
                purged += 1;
            }
        }
        self.found.run_pending_tasks();
        self.not_found.run_pending_tasks();
        purged
    }

    /// How many entries there are, and their weight in bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.found.run_pending_tasks();
        self.not_found.run_pending_tasks();
        (self.found.entry_count() + self.not_found.entry_count(), self.found.weighted_size())
    }
}

/// moka panics over a time to live of more than a thousand years.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Gives a store what both have in common. moka's own time to live only frees memory: whether an entry may be served is
/// decided by the entry's deadline, and one past it may still be of use while the database is away.
fn finish<V: Value>(
    builder: Builder<V>,
    ttl: Duration,
    max_stale: Duration,
    prefetch: &Arc<Prefetch>,
    counters: &Arc<Counters>,
) -> Store<V> {
    let (prefetch, counters) = (Arc::clone(prefetch), Arc::clone(counters));
    builder
        .time_to_live(ttl.saturating_add(max_stale).min(LONGEST))
        .eviction_listener(move |_, entry, cause| match cause {
            RemovalCause::Size => {
                counters.evicted.one();
                entry.leave(&prefetch, &counters);
            }
            RemovalCause::Expired => counters.freed.one(),
            RemovalCause::Explicit | RemovalCause::Replaced => {}
        })
        .build_with_hasher(RandomState::default())
}
