//! What the tiers hold of a key, whether a read would be served from there and why, and whether the tiers work.

use std::{sync::Arc, time::Duration};

use crate::{
    config::Policy,
    l1::{Entry, Expiry, Facts, NewEntry, Provenance, Reload, Tier, Value},
    l2::Frame,
    read::{Key, ReadPath, Storage, Verdict},
    validity::Depends,
};

/// What a tier of the cache holds of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Whether a read would be answered with the copy now.
    pub state: CopyState,
    /// Whether the copy holds a value; otherwise the copy records that there is none.
    pub exists: bool,
    /// The facts by which the copy is judged.
    pub facts: Facts,
    /// How long ago the copy was read from the tier below; known for L1 alone.
    pub age: Option<Duration>,
    /// How long until the copy expires.
    pub ttl: Duration,
    /// The size of the value in bytes.
    pub bytes: usize,
    /// The reader who made the copy saw every change below this id; known for L2 alone.
    pub horizon: Option<u64>,
}

/// Whether a copy would be served, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// The copy would be served.
    Valid,
    /// The copy has expired.
    Expired,
    /// A change that touches the copy was applied since the copy was read.
    Invalidated,
    /// The change log has not been read within the staleness bound.
    Unproven,
    /// The copy was read before the history of this replica begins.
    TooOld,
    /// The copy is damaged, or another release wrote it.
    Damaged,
}

/// Why a tier cannot be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Redis is away.
    #[error("Redis is away or does not answer in time")]
    Redis,
    /// The tier did not return what was written.
    #[error("what was written could not be read back")]
    Forgetful,
}

/// The time to live of the copy that a probe writes.
const PROBE_TTL: Duration = Duration::from_secs(5);

/// Looks into the tiers of a read path.
pub(crate) struct Inspector<'a, V>(pub(crate) &'a ReadPath<V>);

impl<V: Value> Inspector<'_, V> {
    /// What L1 holds of a key.
    pub(crate) fn l1(&self, name: &str) -> Option<Inspected> {
        let reads = self.0;
        let entry = reads.l1.get(name)?;
        let now = reads.clock.now();
        Some(Inspected {
            state: match reads.judge(&entry, reads.read_clock(), Reload::Impossible) {
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

    /// What L2 holds of a key.
    pub(crate) async fn l2(&self, key: &Key) -> Result<Option<Inspected>, Unreachable> {
        let Some(l2) = &self.0.l2 else { return Ok(None) };
        let Some(followed) = self.0.validity.followed() else { return Err(Unreachable::Redis) };
        let peeked = l2.peek(followed, &key.name).await.map_err(|_| Unreachable::Redis)?;
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
        if !self.0.proven() {
            return CopyState::Unproven;
        }
        let validity = &self.0.validity;
        let depends = Depends::of(&key.name, key.term.as_deref(), frame.payload.is_some());
        let terms = (frame.payload.is_some() && !frame.list).then_some(&frame.terms[..]);
        if validity.frame_stands(&key.name, depends, &frame.origin, terms) {
            CopyState::Valid
        } else if validity.remembers(&frame.origin) {
            CopyState::Invalidated
        } else {
            CopyState::TooOld
        }
    }

    /// Writes a copy into L1 and reads it back. Returns how long that took.
    pub(crate) fn probe_l1(&self) -> Result<Duration, Unreachable> {
        const NAME: &str = "probe:l1";
        let reads = self.0;
        let began = reads.clock.now();
        let entry: Entry<V> = Entry::new(NewEntry {
            name: NAME,
            value: None,
            stamp: reads.validity.stamp(NAME, None),
            began,
            expiry: Expiry::plain(PROBE_TTL),
            tier: Tier::Database,
            provenance: Provenance::Followed,
        });
        let entry = reads.take_in_l1(entry, Policy::Item, Storage::Allowed);
        let found = reads.l1.get(NAME).is_some_and(|found| Arc::ptr_eq(&found, &entry));
        reads.l1.discard(&entry);
        // A change that was applied meanwhile rightly keeps the copy out.
        if found || !entry.stands(&reads.validity) {
            Ok(reads.clock.now().since(began))
        } else {
            Err(Unreachable::Forgetful)
        }
    }

    /// Writes a value into Redis and reads it back. Returns how long that took; `None` where there is no Redis.
    pub(crate) async fn probe_l2(&self) -> Option<Result<Duration, Unreachable>> {
        let l2 = self.0.l2.as_ref()?;
        let began = self.0.clock.now();
        let value = format!("{:016x}", self.0.jitter.number());
        let Ok(read) = l2.probe(&value, PROBE_TTL).await else {
            return Some(Err(Unreachable::Redis));
        };
        let took = self.0.clock.now().since(began);
        Some(if read.as_deref() == Some(value.as_bytes()) { Ok(took) } else { Err(Unreachable::Forgetful) })
    }

    /// The output of INFO of Redis: lines of `name:value`. `None` where there is no Redis or Redis is away.
    pub(crate) async fn redis_info(&self) -> Option<Vec<String>> {
        self.0.l2.as_ref()?.info().await.ok()
    }
}
