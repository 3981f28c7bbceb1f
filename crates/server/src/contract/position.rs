//! Positions in a stream of changes: opaque text, as the tokens of commits, for everything that the stream has told.

use larder_change::{Incarnation, Snapshot};
use prost::Message as _;

use super::token::{Stamp, decode_stamp, seal, unseal};

/// The kind of a sealed position, and the version of its format. Versions 0x21 and 0x22 were not Protocol Buffers.
pub(super) const POSITION: u8 = 0x23;
/// A start after a write leaves out this many transactions one by one that were under way beside it.
const MOST_BESIDE: u64 = 1_000;

/// The progress of a stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The incarnation of the database.
    pub incarnation: Incarnation,
    /// Every change that this snapshot sees was told.
    pub told: Snapshot,
    /// The told part of a further step, if the position is within one.
    pub step: Option<Step>,
}

/// A step from one snapshot to the next, told in the order of versions; requested invalidations, which have none, come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The snapshot after the step.
    pub to: Snapshot,
    /// The changes of the step up to this version were told.
    pub version: i64,
}

impl Position {
    /// The position after every change that a snapshot sees.
    pub fn after(told: Snapshot, incarnation: Incarnation) -> Self {
        Self { incarnation, told, step: None }
    }

    /// Writes the position as a token.
    pub fn encode(&self) -> String {
        let step =
            self.step.as_ref().map(|Step { to, version }| wire::Step { to: Some(to_wire(to)), version: *version });
        let position = wire::Position { incarnation: self.incarnation.0, told: Some(to_wire(&self.told)), step };
        seal(POSITION, &position.encode_to_vec())
    }

    /// Reads a token of a stream or of a write; `None` when it is neither.
    pub fn decode(text: &str) -> Option<Self> {
        match unseal(POSITION, text) {
            Some(content) => Self::parse(&content),
            None => decode_stamp(text).map(after_write),
        }
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let wire::Position { incarnation, told, step } = wire::Position::decode(content).ok()?;
        let step = match step {
            Some(wire::Step { to, version }) => Some(Step { to: from_wire(to?)?, version }),
            None => None,
        };
        Some(Self { incarnation: Incarnation(incarnation), told: from_wire(told?)?, step })
    }
}

/// Positions as clients keep them.
mod wire {
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Position {
        #[prost(fixed64, tag = "1")]
        pub(super) incarnation: u64,
        #[prost(message, optional, tag = "2")]
        pub(super) told: Option<Snapshot>,
        #[prost(message, optional, tag = "3")]
        pub(super) step: Option<Step>,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Step {
        #[prost(message, optional, tag = "1")]
        pub(super) to: Option<Snapshot>,
        #[prost(int64, tag = "2")]
        pub(super) version: i64,
    }

    /// Differences are shorter than the numbers.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Snapshot {
        #[prost(uint64, tag = "1")]
        pub(super) xmin: u64,
        /// From `xmin` to `xmax`.
        #[prost(uint64, tag = "2")]
        pub(super) width: u64,
        /// From `xmin` to the first id in progress, and from each to the next.
        #[prost(uint64, repeated, tag = "3")]
        pub(super) gaps: Vec<u64>,
        #[prost(fixed64, optional, tag = "4")]
        pub(super) salt: Option<u64>,
    }
}

/// The position just after a write: the write, and every change that was finished before it, were told.
fn after_write(Stamp { token, horizon }: Stamp) -> Position {
    let (id, end) = (token.id, token.id.saturating_add(1));
    let told = if id <= horizon {
        let end = end.max(horizon);
        // One writer: the commit is the newest change that its snapshot sees.
        let salt = (id.checked_add(1) == Some(horizon)).then_some(token.salt);
        Snapshot { xmin: end, xmax: end, in_progress: Vec::new(), salt }
    } else if id - horizon <= MOST_BESIDE {
        Snapshot { xmin: horizon, xmax: end, in_progress: (horizon..id).collect(), salt: None }
    } else {
        Snapshot { xmin: horizon, xmax: horizon, ..Snapshot::default() }
    };
    Position::after(told, token.incarnation)
}

fn to_wire(snapshot: &Snapshot) -> wire::Snapshot {
    let Snapshot { xmin, xmax, in_progress, salt } = snapshot;
    let before = std::iter::once(xmin).chain(in_progress);
    let gaps = in_progress.iter().zip(before).map(|(id, before)| id - before).collect();
    wire::Snapshot { xmin: *xmin, width: xmax - xmin, gaps, salt: *salt }
}

fn from_wire(snapshot: wire::Snapshot) -> Option<Snapshot> {
    let wire::Snapshot { xmin, width, gaps, salt } = snapshot;
    let xmax = xmin.checked_add(width)?;
    let mut in_progress: Vec<u64> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        let last = in_progress.last().copied();
        let id = last.unwrap_or(xmin).checked_add(gap)?;
        if id >= xmax || last.is_some_and(|last| id <= last) {
            return None;
        }
        in_progress.push(id);
    }
    Some(Snapshot { xmin, xmax, in_progress, salt })
}

#[cfg(test)]
mod tests {
    use larder_change::Token;

    use super::super::token::encode_stamp;
    use super::*;

    fn snapshot(xmin: u64, xmax: u64, in_progress: &[u64]) -> Snapshot {
        Snapshot { xmin, xmax, in_progress: in_progress.to_vec(), salt: xmin.is_multiple_of(2).then_some(xmax) }
    }

    #[test]
    fn a_position_comes_back_and_no_altered_one_does() {
        let plain = Position::after(snapshot(700, 1_000_000, &[700, 701, 900_000]), Incarnation(u64::MAX));
        let step = Step { to: snapshot(u64::MAX - 1, u64::MAX, &[u64::MAX - 1]), version: i64::MAX };
        let middle = Position { step: Some(step), ..plain.clone() };
        for position in [plain, middle, Position::after(Snapshot::default(), Incarnation(0))] {
            let text = position.encode();
            assert_eq!(Position::decode(&text), Some(position));
            for at in 0..text.len() {
                for other in ["A", "B", "_", "9"] {
                    let mut altered = text.clone();
                    altered.replace_range(at..=at, other);
                    assert!(altered == text || Position::decode(&altered).is_none(), "{altered}");
                }
            }
        }
    }

    #[test]
    fn nonsense_under_a_right_checksum_is_refused() {
        let good = wire::Snapshot { xmin: 5, width: 9, gaps: vec![1, 1], salt: None };
        let told = |told| wire::Position { incarnation: 1, told, step: None }.encode_to_vec();
        let read = |content: &[u8]| Position::decode(&seal(POSITION, content));
        assert!(read(&told(Some(good.clone()))).is_some());
        let cut = &told(Some(good.clone()))[..12];
        for content in [&[][..], &[0; 8], b"position", cut, &told(None)] {
            assert_eq!(read(content), None, "{content:?}");
        }
        for bad in [
            wire::Snapshot { width: 2, ..good.clone() },
            wire::Snapshot { gaps: vec![1, 0], ..good.clone() },
            wire::Snapshot { gaps: vec![1, u64::MAX], ..good.clone() },
            wire::Snapshot { xmin: u64::MAX, ..good.clone() },
        ] {
            assert_eq!(read(&told(Some(bad.clone()))), None, "{bad:?}");
        }
        let step = Some(wire::Step { to: None, version: 1 });
        let without_end = wire::Position { incarnation: 1, told: Some(good), step };
        assert_eq!(read(&without_end.encode_to_vec()), None);
    }

    #[test]
    fn positions_of_earlier_formats_are_refused() {
        // The incarnation, and then xmin, the width, no id in progress and, in 0x22, no salt.
        for (kind, snapshot) in [(0x21, &[5, 0, 0][..]), (0x22, &[5, 0, 0, 0])] {
            assert_eq!(Position::decode(&seal(kind, &[&[0; 8], snapshot].concat())), None);
        }
    }

    #[test]
    fn what_a_later_release_adds_is_skipped() {
        let position = Position::after(snapshot(4, 9, &[5]), Incarnation(1));
        let mut content = unseal(POSITION, &position.encode()).unwrap();
        // Field 99, a varint.
        content.extend([0x98, 0x06, 1]);
        assert_eq!(Position::decode(&seal(POSITION, &content)), Some(position));
    }

    #[test]
    fn a_start_after_a_write_leaves_out_what_it_must_not() {
        let start = |id, horizon| {
            let stamp = Stamp { token: Token { incarnation: Incarnation(1), id, salt: 9 }, horizon };
            Position::decode(&encode_stamp(stamp)).unwrap().told
        };
        for (id, horizon) in [(10, 11), (10, 10), (10, 7), (5_000, 7)] {
            let told = start(id, horizon);
            assert!((0..horizon).all(|id| told.sees(id)), "{told:?}: what was finished");
            assert!((horizon..id).all(|id| !told.sees(id)), "{told:?}: what may have been under way");
            assert!(!told.sees(id.max(horizon) + 1), "{told:?}: what came later");
            assert_eq!(told.sees(id), id < 1_000, "{told:?}: the write itself");
        }
    }
}
