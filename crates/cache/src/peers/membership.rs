//! Who shares one Redis: what replicas know of each other, for information alone.

use std::{collections::HashMap, time::Duration};

use crate::Moment;

/// Another replica over the same Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its number, which it drew when it started.
    pub id: u64,
    /// What it calls itself: see [`Cache::introduce`](crate::Cache::introduce).
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// How long ago it started.
    pub age: Duration,
    /// How long ago it was last heard of.
    pub heard: Duration,
    /// Whether it was heard of lately, so that its answers are waited for.
    pub expected: bool,
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The other replicas that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Replicas(HashMap<u64, Known>);

#[derive(Debug)]
struct Known {
    introduction: Introduction,
    /// Its age when it said this.
    age: Duration,
    heard: Moment,
    /// It said goodbye: only a hello brings it back, for what it said before may come later.
    gone: bool,
    /// The least difference seen between our clock and its age, in microseconds: what says more was late by that.
    least: u64,
}

/// Replicas remembered; of more nothing is known.
const MOST: usize = 1_024;
/// Who was not heard of for so long is not waited for.
const SILENT: Duration = Duration::from_secs(10);
/// Who was not heard of for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(1);
/// By how many microseconds the least difference may grow from one word to the next: clocks do not run alike.
const DRIFT: u64 = 1_000;

impl Introduction {
    /// The longest name and version, in bytes.
    pub(crate) const MOST: usize = 128;

    /// What is too long is cut off.
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(Self::MOST)].to_owned();
        Self { name: cut(name), version: cut(version) }
    }
}

impl Replicas {
    /// Takes note of what a replica says of itself. `hello` is its first word, or the first after its connection was lost.
    pub(crate) fn hear(&mut self, id: u64, introduction: Introduction, age: Duration, hello: bool, now: Moment) {
        let difference = difference(age, now);
        let before = self.0.get(&id).map(|known| (known.gone, known.least));
        if before.is_some_and(|(gone, _)| gone) && !hello {
            return;
        }
        if before.is_none() && self.0.len() >= MOST {
            self.0.retain(|_, known| now.since(known.heard) <= FORGOTTEN);
            if self.0.len() >= MOST {
                return;
            }
        }
        let least = before.map_or(difference, |(_, least)| difference.min(least + DRIFT));
        let late = Duration::from_micros(difference - least);
        // Of who says something late nobody knows whether it still is there.
        let heard = Moment::from_nanos(now.nanos().saturating_sub(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)));
        self.0.insert(id, Known { introduction, age, heard, gone: false, least });
    }

    /// How long ago a replica said something, by its age then. Of a stranger nothing is known.
    pub(crate) fn late(&self, id: u64, age: Duration, now: Moment) -> Duration {
        let late = self.0.get(&id).map_or(0, |known| difference(age, now).saturating_sub(known.least));
        Duration::from_micros(late)
    }

    /// A replica ends.
    pub(crate) fn leave(&mut self, id: u64) {
        if let Some(known) = self.0.get_mut(&id) {
            known.gone = true;
        }
    }

    /// Those that are not forgotten, by name.
    pub(crate) fn list(&self, now: Moment) -> Vec<Replica> {
        let remembered = self.0.iter().filter(|(_, known)| !known.gone && now.since(known.heard) <= FORGOTTEN);
        let mut list: Vec<Replica> = remembered
            .map(|(&id, Known { introduction: Introduction { name, version }, age, heard, .. })| {
                let heard = now.since(*heard);
                let (name, version) = (name.clone(), version.clone());
                Replica { id, name, version, age: *age + heard, heard, expected: heard <= SILENT }
            })
            .collect();
        list.sort_unstable_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        list
    }
}

/// Between our clock and the age of a replica. Ages count from later than our clock or from earlier; so half of all numbers is
/// added, and no difference is below zero.
fn difference(age: Duration, now: Moment) -> u64 {
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 4);
    u64::MAX / 2 + now.nanos() / 1_000 - age
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(1).plus(SECOND * u32::try_from(1_000 + seconds).unwrap())
    }

    fn introduction() -> Introduction {
        Introduction::new("shop-1:50051", "1.2.3")
    }

    fn ids(replicas: &Replicas, now: Moment) -> Vec<(u64, bool)> {
        replicas.list(now).iter().map(|replica| (replica.id, replica.expected)).collect()
    }

    #[test]
    fn who_is_silent_is_not_expected_and_then_forgotten() {
        let mut replicas = Replicas::default();
        replicas.hear(1, introduction(), SECOND, true, at(0));
        let expected = Replica {
            id: 1,
            name: "shop-1:50051".to_owned(),
            version: "1.2.3".to_owned(),
            age: SECOND * 4,
            heard: SECOND * 3,
            expected: true,
        };
        assert_eq!(replicas.list(at(3)), [expected]);
        assert_eq!(ids(&replicas, at(10)), [(1, true)]);
        assert_eq!(ids(&replicas, at(11)), [(1, false)]);
        assert_eq!(ids(&replicas, at(60)), [(1, false)]);
        assert_eq!(ids(&replicas, at(61)), []);
        replicas.hear(1, introduction(), SECOND * 63, false, at(62));
        assert_eq!(ids(&replicas, at(62)), [(1, true)]);
    }

    #[test]
    fn only_a_hello_follows_a_goodbye() {
        let mut replicas = Replicas::default();
        replicas.hear(1, introduction(), SECOND, true, at(0));
        replicas.leave(1);
        replicas.leave(2);
        assert_eq!(ids(&replicas, at(0)), []);
        replicas.hear(1, introduction(), SECOND, false, at(0));
        assert_eq!(ids(&replicas, at(0)), [], "what it had said before came later");
        replicas.hear(1, introduction(), SECOND, true, at(1));
        assert_eq!(ids(&replicas, at(1)), [(1, true)]);
    }

    #[test]
    fn there_are_bounds() {
        let mut replicas = Replicas::default();
        for id in 0..2_000 {
            replicas.hear(id, introduction(), SECOND, false, at(0));
        }
        assert_eq!(replicas.list(at(0)).len(), MOST);
        replicas.hear(5_000, introduction(), SECOND, false, at(100));
        assert_eq!(ids(&replicas, at(100)), [(5_000, true)], "those forgotten made room");
        let long = Introduction::new(&"ä".repeat(100), &"x".repeat(1_000));
        assert_eq!((long.name.len(), long.version.len()), (128, 128));
        assert_eq!(Introduction::new(&format!("x{}", "ä".repeat(100)), "").name.len(), 127);
    }

    #[test]
    fn what_waited_somewhere_is_known_to_be_late() {
        let mut replicas = Replicas::default();
        assert_eq!(replicas.late(1, SECOND, at(5)), Duration::ZERO, "of a stranger nothing is known");
        replicas.hear(1, introduction(), SECOND, true, at(5));
        assert_eq!(replicas.late(1, SECOND * 3, at(7)), Duration::ZERO);
        assert_eq!(replicas.late(1, SECOND * 3, at(27)), SECOND * 20);
        // PeerMessage long ago, and read only now, after a pause.
        replicas.hear(1, introduction(), SECOND * 3, false, at(27));
        let heard = replicas.list(at(27))[0].clone();
        assert!(!heard.expected && heard.heard > SECOND * 19, "{heard:?}");
        assert!(replicas.late(1, SECOND * 4, at(28)) > SECOND * 19, "that does not become the measure");
        // An age above our own time: it has run for longer than our machine.
        replicas.hear(2, introduction(), SECOND * 1_000_000, true, at(0));
        assert_eq!(replicas.late(2, SECOND * 1_000_001, at(4)), SECOND * 3);
        replicas.hear(3, introduction(), Duration::MAX, true, at(0));
        assert_eq!(replicas.late(3, Duration::MAX, at(1)), SECOND);
    }
}
