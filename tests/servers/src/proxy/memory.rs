//! The values that were once set, to be brought up again.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

const KEYS: usize = 10_000;
const VALUES_PER_KEY: usize = 16;
const BYTES: usize = 128 << 20;

/// What was set for each key, within limits. Over them the keys that came first are forgotten, and of one key's values any.
#[derive(Debug, Default)]
pub(super) struct Memory {
    values: HashMap<Vec<u8>, Vec<(Instant, Vec<u8>)>>,
    order: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Memory {
    /// Remembers a value.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], now: Instant, rng: &mut SmallRng) {
        if !self.values.contains_key(key) {
            self.order.push_back(key.to_vec());
        }
        let values = self.values.entry(key.to_vec()).or_default();
        if values.iter().any(|(_, known)| known == value) {
            return;
        }
        self.bytes += value.len();
        if values.len() == VALUES_PER_KEY {
            // Not the oldest one: what is very old does the most harm.
            let (_, gone) = values.swap_remove(rng.random_range(0..VALUES_PER_KEY));
            self.bytes -= gone.len();
        }
        values.push((now, value.to_vec()));
        while self.order.len() > KEYS || self.bytes > BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let gone = self.values.remove(&oldest).unwrap_or_default();
            self.bytes -= gone.iter().map(|(_, value)| value.len()).sum::<usize>();
        }
    }

    /// Returns some value of the key that is not the current one, and is at least as old as `age`.
    pub(super) fn other(
        &self,
        key: &[u8],
        current: Option<&[u8]>,
        age: Duration,
        now: Instant,
        rng: &mut SmallRng,
    ) -> Option<&[u8]> {
        let fits = |(at, value): &&(Instant, Vec<u8>)| {
            current != Some(value.as_slice()) && now.saturating_duration_since(*at) >= age
        };
        let values: Vec<_> = self.values.get(key)?.iter().filter(fits).collect();
        values.choose(rng).map(|(_, value)| value.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn it_stays_within_its_limits() {
        let (mut memory, mut rng, now) = (Memory::default(), SmallRng::seed_from_u64(1), Instant::now());
        for number in 0..100 {
            memory.set(b"k", format!("{number}").as_bytes(), now, &mut rng);
        }
        assert_eq!(memory.values[b"k".as_slice()].len(), VALUES_PER_KEY);
        for number in 0..KEYS {
            memory.set(format!("{number}").as_bytes(), b"v", now, &mut rng);
        }
        assert_eq!((memory.order.len(), memory.values.len(), memory.bytes), (KEYS, KEYS, KEYS));
        assert_eq!(memory.other(b"k", None, Duration::ZERO, now, &mut rng), None, "the first key is still there");
        for number in 0..5 {
            memory.set(b"large", &vec![number; BYTES / 3], now, &mut rng);
        }
        assert!(memory.bytes <= BYTES, "{} bytes", memory.bytes);
    }

    #[test]
    fn it_returns_what_is_another_value_and_old_enough() {
        let (mut memory, mut rng, begin) = (Memory::default(), SmallRng::seed_from_u64(1), Instant::now());
        let second = Duration::from_secs(1);
        memory.set(b"k", b"old", begin, &mut rng);
        memory.set(b"k", b"new", begin + second, &mut rng);
        let now = begin + second;
        for _ in 0..20 {
            assert_eq!(memory.other(b"k", Some(b"new"), Duration::ZERO, now, &mut rng), Some(b"old".as_slice()));
            assert_eq!(memory.other(b"k", None, second, now, &mut rng), Some(b"old".as_slice()));
        }
        assert_eq!(memory.other(b"k", Some(b"old"), second, now, &mut rng), None);
        assert_eq!(memory.other(b"other", None, Duration::ZERO, now, &mut rng), None);
    }
}
