//! A copy in L1, and what the cache must know of its value.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use bytes::Bytes;

use super::expiry::{Expiry, ExpiryState, Reload, Stage};
use crate::{
    time::Moment,
    validity::{Rule, Stripes, Validity, ValidityStamp},
};

/// A value that the cache can keep.
pub trait Value: Send + Sync + 'static {
    /// The size in bytes.
    fn bytes(&self) -> usize;

    /// Whether an invalidation of this term drops the value. A value that cannot tell returns `true`.
    fn has(&self, term: &str) -> bool;

    /// The facts by which other replicas judge the value.
    fn facts(&self) -> Facts;

    /// The encoded value, for other replicas.
    fn encode(&self) -> Bytes;

    /// Whether the value is shared with other replicas. A value that cannot be decoded is not.
    fn is_shared(&self) -> bool {
        true
    }

    /// Decodes the [encoding](Self::encode) of a list or an item, perhaps by another release; `None` if the bytes cannot be
    /// decoded.
    fn decode(bytes: Bytes, list: bool) -> Option<Self>
    where
        Self: Sized;
}

/// The facts by which the copy of a value is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The version of an item: strictly increasing for one key while the item exists. Meaningless for a list.
    pub version: i64,
    /// The names of the terms that an item has.
    pub terms: Vec<String>,
}

/// A tier of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The memory of this process.
    L1,
    /// Redis, shared by all replicas.
    L2,
    /// The database.
    Database,
}

/// A copy in L1: a value, or the fact that there is none.
#[derive(Debug)]
pub struct Entry<V> {
    /// The value; `None` stands for "not found".
    pub value: Option<V>,
    /// When the load of the copy began; for a copy from L2, when the copy arrived from there.
    pub began: Moment,
    /// When the copy expires at the latest.
    pub deadline: Moment,
    /// From here on the copy may have expired, or be due for a refresh.
    pub(crate) due: Moment,
    expiry: ExpiryState,
    provenance: Provenance,
    /// The tier that the copy came from.
    pub(crate) tier: Tier,
    /// The name of the key, for patterns; empty for a copy that is not stored.
    name: Arc<str>,
    stripes: Stripes,
    generation: u64,
    rules: AtomicU64,
    /// The number of reads, up to [`MOST_READS`], and the flag bits below. A read beyond that writes nothing.
    reads: AtomicU8,
    /// The newest pass over the change log when the copy landed here. Its contents were read before the next pass began.
    landed: u64,
}

/// The parts of a new [`Entry`].
pub(crate) struct NewEntry<'a, V> {
    /// The name of the key.
    pub(crate) name: &'a str,
    /// The value; `None` stands for "not found".
    pub(crate) value: Option<V>,
    /// The stamp taken before the load read anything.
    pub(crate) stamp: ValidityStamp,
    /// When the load began.
    pub(crate) began: Moment,
    /// How the copy expires.
    pub(crate) expiry: Expiry,
    /// The tier that the copy came from.
    pub(crate) tier: Tier,
    /// The database that the copy came from.
    pub(crate) provenance: Provenance,
}

/// The database that a copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// The followed database.
    Followed,
    /// Another database, or one that cannot tell its incarnation. The copy is served marked stale and never stored.
    Foreign,
}

/// How often a copy was read, up to [`MOST_READS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadCount {
    /// The number of reads.
    pub(crate) reads: u8,
    /// Whether the copy was prefetched and nobody has read it since.
    pub(crate) ahead: bool,
}

/// Reads that a copy counts; further reads make no difference.
pub(crate) const MOST_READS: u8 = 15;
/// The copy was prefetched, and nobody has read it.
const AHEAD: u8 = 0x80;
/// The reads of the copy are not counted.
const UNCOUNTED: u8 = 0x40;

impl<V: Value> Entry<V> {
    pub(crate) fn new(parts: NewEntry<'_, V>) -> Self {
        let NewEntry { name, value, stamp, began, expiry, tier, provenance } = parts;
        Self {
            value,
            began,
            due: expiry.due(began),
            deadline: began.plus(expiry.ttl),
            expiry: expiry.state(),
            provenance,
            tier,
            name: name.into(),
            stripes: stamp.stripes,
            generation: stamp.generation,
            rules: AtomicU64::new(stamp.rules),
            reads: AtomicU8::new(UNCOUNTED),
            landed: u64::MAX,
        }
    }

    /// Records the newest pass over the change log. Must follow the load of the copy.
    pub(crate) fn land(&mut self, pass: u64) {
        self.landed = pass;
    }

    /// The name of the key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the key, to be shared.
    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the copy comes from a database other than the followed one.
    pub(crate) fn is_foreign(&self) -> bool {
        self.provenance == Provenance::Foreign
    }

    /// Starts counting reads, beginning with the reads of an earlier copy.
    pub(crate) fn count_reads(&mut self, past: ReadCount) {
        self.reads = AtomicU8::new(past.reads | if past.ahead { AHEAD } else { 0 });
    }

    /// Counts a read. Returns whether the read is the first of a prefetched copy. Of two concurrent reads, one may not be counted.
    pub(crate) fn note_read(&self) -> bool {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads < MOST_READS {
            self.reads.store(reads + 1, Ordering::Relaxed);
        }
        reads & AHEAD != 0 && self.reads.fetch_and(!AHEAD, Ordering::Relaxed) & AHEAD != 0
    }

    /// The reads so far, if they are counted.
    pub(crate) fn reads(&self) -> Option<ReadCount> {
        let reads = self.reads.load(Ordering::Relaxed);
        (reads & UNCOUNTED == 0).then_some(ReadCount { reads: reads & MOST_READS, ahead: reads & AHEAD != 0 })
    }

    /// Takes over the reads of the previous copy of the same key.
    pub(super) fn succeed(&self, previous: &Self) {
        let reads = previous.reads.load(Ordering::Relaxed) & MOST_READS;
        if self.reads.load(Ordering::Relaxed) & UNCOUNTED == 0 {
            self.reads.fetch_max(reads, Ordering::Relaxed);
        }
    }

    /// The moment at which the copy is known to have been right without consulting the change log: the start of its load from the
    /// database.
    pub(crate) fn own_proof(&self) -> Moment {
        if self.tier == Tier::Database { self.began } else { Moment::NEVER }
    }

    /// Whether the copy is valid: no change that touches the copy was applied since the copy was read.
    pub(crate) fn stands(&self, validity: &Validity) -> bool {
        validity.generation(self.stripes) == self.generation
            && (self.rules.load(Ordering::Relaxed) == validity.rules().counter() || self.passes_rules(validity))
    }

    /// Matches the rules applied since the copy was last judged, each once.
    #[cold]
    fn passes_rules(&self, validity: &Validity) -> bool {
        let seen = self.rules.load(Ordering::Relaxed);
        let (touched, counter) = validity.rules().touched(seen, |rule| self.touched_by(rule));
        if !touched {
            self.rules.fetch_max(counter, Ordering::Relaxed);
        }
        !touched
    }

    /// Whether a rule drops the copy.
    pub(crate) fn touched_by(&self, rule: &Rule) -> bool {
        match rule {
            // The absence of a value does not tell which terms the key has now.
            Rule::Term(term) => self.value.as_ref().is_none_or(|value| value.has(term)),
            Rule::Pattern(glob) => self.name.is_empty() || glob.matches(&self.name),
            Rule::LandedSince(pass) => self.landed >= *pass,
            Rule::All => true,
        }
    }

    /// When the copy expires unless it is read before.
    pub(crate) fn expires(&self) -> Moment {
        self.expiry.expires(self.began, self.deadline)
    }

    /// How far the copy has aged, for a reader who can or cannot reload it.
    #[cold]
    pub(crate) fn stage(&self, now: Moment, reload: Reload, chance: impl FnOnce() -> f64) -> Stage {
        self.expiry.stage(self.began, self.deadline, now, reload, chance)
    }

    pub(super) fn weight(&self) -> usize {
        self.name.len() + self.value.as_ref().map_or(0, Value::bytes)
    }
}
