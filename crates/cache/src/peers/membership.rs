//! The replicas that share one Redis, as far as this one has heard of them. For information only.

use std::{collections::HashMap, time::Duration};

use crate::time::Moment;

/// Another replica over the same Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The random number that the replica drew when it started.
    pub id: u64,
    /// The name of the replica: see [`Cache::introduce`](crate::Cache::introduce).
    pub name: String,
    /// The version of the replica's program.
    pub version: String,
    /// How long ago the replica started.
    pub age: Duration,
    /// How long ago the replica was last heard of.
    pub heard: Duration,
    /// Whether the replica was heard of recently, so that questions wait for its answer.
    pub expected: bool,
}

/// How a replica introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Introduction {
    pub(super) name: String,
    pub(super) version: String,
}

/// The other replicas that were heard of.
#[derive(Debug, Default)]
pub(super) struct Membership(HashMap<u64, Known>);

#[derive(Debug)]
struct Known {
    introduction: Introduction,
    /// The age of the replica when it sent its last message.
    age: Duration,
    heard: Moment,
    /// Whether the replica has left. Only a join brings it back, since older messages may arrive late.
    gone: bool,
    /// The least difference seen between this replica's clock and the other's age, in microseconds. A message with a larger
    /// difference was late by the excess.
    least: u64,
}

/// What a message says about the presence of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// The sender joins, for the first time or after its connection was lost.
    Joining,
    /// The sender is still there.
    Present,
}

/// Replicas that are remembered; further ones are ignored.
const MOST: usize = 1_024;
/// The silence after which questions no longer wait for a replica.
const SILENT: Duration = Duration::from_secs(10);
/// The silence after which a replica is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(1);
/// Microseconds by which the least difference may grow from one message to the next, since clocks drift.
const DRIFT: u64 = 1_000;

impl Introduction {
    /// The longest name and version, in bytes.
    pub(super) const MOST: usize = 128;

    /// Cuts off a name or a version that is too long.
    pub(super) fn new(name: &str, version: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(Self::MOST)].to_owned();
        Self { name: cut(name), version: cut(version) }
    }
}

impl Membership {
    /// Records a join.
    pub(super) fn join(&mut self, id: u64, introduction: Introduction, age: Duration, now: Moment) {
        self.hear(id, introduction, age, now, Presence::Joining);
    }

    /// Records a heartbeat.
    pub(super) fn heartbeat(&mut self, id: u64, introduction: Introduction, age: Duration, now: Moment) {
        self.hear(id, introduction, age, now, Presence::Present);
    }

    fn hear(&mut self, id: u64, introduction: Introduction, age: Duration, now: Moment, presence: Presence) {
        let difference = difference(age, now);
        let before = self.0.get(&id).map(|known| (known.gone, known.least));
        if before.is_some_and(|(gone, _)| gone) && presence != Presence::Joining {
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
        // A late message does not prove that its sender is still there.
        let heard = Moment::from_nanos(now.nanos().saturating_sub(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)));
        self.0.insert(id, Known { introduction, age, heard, gone: false, least });
    }

    /// How late a message arrived, by the age of its sender at the time of sending; zero for an unknown sender.
    pub(super) fn late(&self, id: u64, age: Duration, now: Moment) -> Duration {
        let late = self.0.get(&id).map_or(0, |known| difference(age, now).saturating_sub(known.least));
        Duration::from_micros(late)
    }

    /// Records that a replica leaves.
    pub(super) fn leave(&mut self, id: u64) {
        if let Some(known) = self.0.get_mut(&id) {
            known.gone = true;
        }
    }

    /// The replicas that are not forgotten, by name.
    pub(super) fn list(&self, now: Moment) -> Vec<Replica> {
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

/// The difference between this replica's clock and the age of another, in microseconds. Either may be larger; half of the range
/// is added, so that no difference is below zero.
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

    fn ids(replicas: &Membership, now: Moment) -> Vec<(u64, bool)> {
        replicas.list(now).iter().map(|replica| (replica.id, replica.expected)).collect()
    }

    #[test]
    fn who_is_silent_is_not_expected_and_then_forgotten() {
        let mut replicas = Membership::default();
        replicas.join(1, introduction(), SECOND, at(0));
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
        replicas.heartbeat(1, introduction(), SECOND * 63, at(62));
        assert_eq!(ids(&replicas, at(62)), [(1, true)]);
    }

    #[test]
    fn only_a_hello_follows_a_goodbye() {
        let mut replicas = Membership::default();
        replicas.join(1, introduction(), SECOND, at(0));
        replicas.leave(1);
        replicas.leave(2);
        assert_eq!(ids(&replicas, at(0)), []);
        replicas.heartbeat(1, introduction(), SECOND, at(0));
        assert_eq!(ids(&replicas, at(0)), [], "what it had said before came later");
        replicas.join(1, introduction(), SECOND, at(1));
        assert_eq!(ids(&replicas, at(1)), [(1, true)]);
    }

    #[test]
    fn there_are_bounds() {
        let mut replicas = Membership::default();
        for id in 0..2_000 {
            replicas.heartbeat(id, introduction(), SECOND, at(0));
        }
        assert_eq!(replicas.list(at(0)).len(), MOST);
        replicas.heartbeat(5_000, introduction(), SECOND, at(100));
        assert_eq!(ids(&replicas, at(100)), [(5_000, true)], "those forgotten made room");
        let long = Introduction::new(&"ä".repeat(100), &"x".repeat(1_000));
        assert_eq!((long.name.len(), long.version.len()), (128, 128));
        assert_eq!(Introduction::new(&format!("x{}", "ä".repeat(100)), "").name.len(), 127);
    }

    #[test]
    fn what_waited_somewhere_is_known_to_be_late() {
        let mut replicas = Membership::default();
        assert_eq!(replicas.late(1, SECOND, at(5)), Duration::ZERO, "of a stranger nothing is known");
        replicas.join(1, introduction(), SECOND, at(5));
        assert_eq!(replicas.late(1, SECOND * 3, at(7)), Duration::ZERO);
        assert_eq!(replicas.late(1, SECOND * 3, at(27)), SECOND * 20);
        // PeerMessage long ago, and read only now, after a pause.
        replicas.heartbeat(1, introduction(), SECOND * 3, at(27));
        let heard = replicas.list(at(27))[0].clone();
        assert!(!heard.expected && heard.heard > SECOND * 19, "{heard:?}");
        assert!(replicas.late(1, SECOND * 4, at(28)) > SECOND * 19, "that does not become the measure");
        // An age above our own time: it has run for longer than our machine.
        replicas.join(2, introduction(), SECOND * 1_000_000, at(0));
        assert_eq!(replicas.late(2, SECOND * 1_000_001, at(4)), SECOND * 3);
        replicas.join(3, introduction(), Duration::MAX, at(0));
        assert_eq!(replicas.late(3, Duration::MAX, at(1)), SECOND);
    }
}
