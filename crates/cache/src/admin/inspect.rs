//! What the tiers of the cache have of a key, and why it would be served or not; and whether the tiers work.

use std::time::Duration;

use crate::{
    Cache, Facts, Key, Policy, Tier,
    l1::expiry::Life,
    l1::{Entry, Value},
    l2::codec::Frame,
    read::get::Verdict,
    validity::history::Depends,
};

/// What a tier of the cache has of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Whether a read would be answered with it now.
    pub state: CopyState,
    /// Whether it holds a value; otherwise it says that there is none.
    pub exists: bool,
    /// What it is judged by.
    pub facts: Facts,
    /// How long ago it was read from the tier below; known of L1 alone.
    pub age: Option<Duration>,
    /// How long until it expires.
    pub ttl: Duration,
    /// Bytes of its content.
    pub bytes: usize,
    /// Every change below this id was seen by whoever read it; known of L2 alone.
    pub horizon: Option<u64>,
}

/// Whether a copy would be served, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It would.
    Valid,
    /// Its time has passed.
    Expired,
    /// Something that touches it was learned since it was read.
    Invalidated,
    /// The change log has not been read within the staleness bound.
    Unproven,
    /// It was read before what this replica remembers of changes begins.
    TooOld,
    /// It does not check out, or another release wrote it.
    Damaged,
}

/// Why a tier cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Redis is away.
    #[error("Redis is away or does not answer in time")]
    Redis,
    /// What was written was not what was read back.
    #[error("what was written could not be read back")]
    Forgetful,
}

/// The copy that a probe writes lives no longer than this.
const PROBE_LIFE: Duration = Duration::from_secs(5);

impl<V: Value> Cache<V> {
    /// What L1 has of a key.
    pub fn inspect_l1(&self, name: &str) -> Option<Inspected> {
        let entry = self.shared().l1.get(name)?;
        let now = self.clock().now();
        Some(Inspected {
            state: match self.judge(&entry, self.read_clock(), false) {
                Verdict::Valid | Verdict::Due => CopyState::Valid,
                Verdict::Expired => CopyState::Expired,
                Verdict::Invalid => CopyState::Invalidated,
                Verdict::Unproven => CopyState::Unproven,
            },
            exists: entry.value.is_some(),
            facts: entry.value.as_ref().map(Value::facts).unwrap_or_default(),
            age: Some(now.since(entry.began)),
            ttl: entry.expires().since(now),
            bytes: entry.value.as_ref().map_or(0, Value::bytes),
            horizon: None,
        })
    }

    /// What L2 has of a key.
    pub async fn inspect_l2(&self, key: &Key) -> Result<Option<Inspected>, Unreachable> {
        let Some(l2) = &self.shared().l2 else { return Ok(None) };
        let Some(view) = self.validity().view() else { return Err(Unreachable::Redis) };
        let peeked = l2.peek(view.incarnation, &key.name, self.counters()).await.map_err(|_| Unreachable::Redis)?;
        let Some((frame, ttl)) = peeked else { return Ok(None) };
        let inspected = match frame {
            None => Inspected {
                state: CopyState::Damaged,
                exists: false,
                facts: Facts::default(),
                age: None,
                ttl,
                bytes: 0,
                horizon: None,
            },
            Some(frame) => Inspected {
                state: self.state_of(key, &frame),
                exists: frame.payload.is_some(),
                bytes: frame.payload.as_ref().map_or(0, bytes::Bytes::len),
                facts: Facts { version: frame.origin.version, terms: frame.terms },
                age: None,
                ttl,
                horizon: Some(frame.origin.horizon),
            },
        };
        Ok(Some(inspected))
    }

    fn state_of(&self, key: &Key, frame: &Frame) -> CopyState {
        if frame.list != key.term.is_some() {
            return CopyState::Damaged;
        }
        if !self.proven() {
            return CopyState::Unproven;
        }
        let depends = Depends::of(&key.name, key.term.as_deref(), frame.payload.is_some());
        let terms = (frame.payload.is_some() && !frame.list).then_some(&frame.terms[..]);
        if self.validity().frame_stands(&key.name, depends, &frame.origin, terms) {
            CopyState::Valid
        } else if self.validity().remembers(&frame.origin) {
            CopyState::Invalidated
        } else {
            CopyState::TooOld
        }
    }

    /// Writes a copy into L1 and reads it back. Returns how long that took.
    pub fn probe_l1(&self) -> Result<Duration, Unreachable> {
        const NAME: &str = "probe:l1";
        let began = self.clock().now();
        let validity = self.validity();
        let stamp = validity.capture(validity.stripes(NAME, None));
        let entry = Entry::new(NAME, None, stamp, began, Life::plain(PROBE_LIFE), Tier::Database, false);
        let entry = self.take_in_l1(entry, Policy::Item, true);
        let found = self.shared().l1.get(NAME).is_some_and(|found| std::sync::Arc::ptr_eq(&found, &entry));
        self.shared().l1.discard(&entry);
        // A change learned in between keeps it out, as it should.
        if found || !entry.stands(validity) { Ok(self.clock().now().since(began)) } else { Err(Unreachable::Forgetful) }
    }

    /// Writes a value into Redis and reads it back. Returns how long that took; `None` where there is no Redis.
    pub async fn probe_l2(&self) -> Option<Result<Duration, Unreachable>> {
        let l2 = self.shared().l2.as_ref()?;
        let began = self.clock().now();
        let value = format!("{:016x}", self.jitter().number());
        let Ok(read) = l2.probe(&value, PROBE_LIFE, self.counters()).await else {
            return Some(Err(Unreachable::Redis));
        };
        let took = self.clock().now().since(began);
        Some(if read.as_deref() == Some(value.as_bytes()) { Ok(took) } else { Err(Unreachable::Forgetful) })
    }

    /// What Redis says about itself, in its own form: lines of `name:value`. `None` where there is no Redis or it is away.
    pub async fn shared_tier_info(&self) -> Option<String> {
        let l2 = self.shared().l2.as_ref()?;
        l2.info(self.counters()).await.ok()
    }
}
