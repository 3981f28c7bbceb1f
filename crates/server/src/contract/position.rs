//! Positions in a stream of changes: opaque text, as the tokens of commits, for everything that the stream has told.

use larder_change::{Incarnation, Snapshot};

use super::token::{Stamp, decode_stamp, seal, unseal};

const POSITION: u8 = 0x22;
/// The version of releases whose positions had no salts.
const UNSALTED: u8 = 0x21;
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
        let mut content = self.incarnation.0.to_be_bytes().to_vec();
        put_snapshot(&mut content, &self.told);
        if let Some(step) = &self.step {
            put_snapshot(&mut content, &step.to);
            put(&mut content, step.version.cast_unsigned());
        }
        seal(POSITION, &content)
    }

    /// Reads a token of a stream or of a write; `None` when it is neither.
    pub fn decode(text: &str) -> Option<Self> {
        for (kind, salted) in [(POSITION, true), (UNSALTED, false)] {
            if let Some(content) = unseal(kind, text) {
                return parse(&content, salted);
            }
        }
        decode_stamp(text).map(after_write)
    }
}

/// The position just after a write: the write, and every change that was finished before it, were told.
fn after_write(Stamp { token, horizon }: Stamp) -> Position {
    let (id, end) = (token.id, token.id.saturating_add(1));
    let told = if id <= horizon {
        let end = end.max(horizon);
        // One writer: the commit is the newest change that its snapshot sees.
        let salt = (id + 1 == horizon).then_some(token.salt);
        Snapshot { xmin: end, xmax: end, in_progress: Vec::new(), salt }
    } else if id - horizon <= MOST_BESIDE {
        Snapshot { xmin: horizon, xmax: end, in_progress: (horizon..id).collect(), salt: None }
    } else {
        Snapshot { xmin: horizon, xmax: horizon, ..Snapshot::default() }
    };
    Position::after(told, token.incarnation)
}

fn parse(content: &[u8], salted: bool) -> Option<Position> {
    let (incarnation, mut rest) = content.split_at_checked(8)?;
    let incarnation = Incarnation(u64::from_be_bytes(incarnation.try_into().ok()?));
    let told = take_snapshot(&mut rest, salted)?;
    let mut step = None;
    if !rest.is_empty() {
        let to = take_snapshot(&mut rest, salted)?;
        step = Some(Step { to, version: take(&mut rest)?.cast_signed() });
    }
    rest.is_empty().then_some(Position { incarnation, told, step })
}

/// Writes differences, which are shorter than the numbers.
fn put_snapshot(into: &mut Vec<u8>, snapshot: &Snapshot) {
    put(into, snapshot.xmin);
    put(into, snapshot.xmax - snapshot.xmin);
    put(into, snapshot.in_progress.len() as u64);
    let mut last = snapshot.xmin;
    for &id in &snapshot.in_progress {
        put(into, id - last);
        last = id;
    }
    into.push(u8::from(snapshot.salt.is_some()));
    if let Some(salt) = snapshot.salt {
        into.extend(salt.to_be_bytes());
    }
}

fn take_snapshot(from: &mut &[u8], salted: bool) -> Option<Snapshot> {
    let xmin = take(from)?;
    let xmax = xmin.checked_add(take(from)?)?;
    let count = take(from)?;
    let mut in_progress: Vec<u64> = Vec::new();
    for _ in 0..count {
        let last = in_progress.last().copied();
        let id = last.unwrap_or(xmin).checked_add(take(from)?)?;
        if id >= xmax || last.is_some_and(|last| id <= last) {
            return None;
        }
        in_progress.push(id);
    }
    let mut salt = None;
    if salted {
        let (&flag, rest) = from.split_first()?;
        *from = rest;
        if flag > 1 {
            return None;
        }
        if flag == 1 {
            let (bytes, rest) = from.split_first_chunk()?;
            *from = rest;
            salt = Some(u64::from_be_bytes(*bytes));
        }
    }
    Some(Snapshot { xmin, xmax, in_progress, salt })
}

/// Seven bits in each byte, the lowest first; a set eighth bit says that there are more (LEB128).
fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
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
        let mut bad: Vec<Vec<u8>> = vec![vec![], vec![0; 7], vec![0; 8], vec![0; 10], vec![0; 11], vec![0; 13]];
        // In progress beyond the end; not rising; more than there are; numbers that are too large.
        bad.push([&[0; 8][..], &[5, 1, 1, 1]].concat());
        bad.push([&[0; 8][..], &[5, 9, 2, 1, 0]].concat());
        bad.push([&[0; 8][..], &[5, 9, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]].concat());
        bad.push([&[0; 8][..], &[0xff; 9][..], &[2, 0, 0]].concat());
        bad.push([&[0; 8][..], &[0xff; 9][..], &[1, 1, 0]].concat());
        for content in bad {
            assert_eq!(Position::decode(&seal(POSITION, &content)), None, "{content:?}");
        }
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
