//! The judgement on one read.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use super::{Line, Moment, Outcome, Read, Seen, State};

/// What a read turned out to be.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may be so; how long something newer had been acknowledged when it began.
    Right { age: Duration },
    /// It must not be so, with the read and its write in words.
    Wrong(Wrong, String),
}

/// What is wrong with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nobody wrote that, or not yet, or it was rolled back.
    Invented,
    /// It is older than what the token names.
    BeforeToken,
    /// It breaks the staleness bound.
    TooOld,
    /// A product that was deleted longer ago than the bound has come back.
    Revived,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invented => "nobody wrote this",
            Self::BeforeToken => "older than its token",
            Self::TooOld => "older than the bound",
            Self::Revived => "deleted, and back again",
        })
    }
}

/// Judges a read by the history of its key.
pub(super) fn judge(line: &Line, read: &Read, bound: Duration) -> Verdict {
    let floors = Floors::of(line, read, bound);
    let Some(seen) = seen(line, read, floors.least()) else {
        return Verdict::Wrong(Wrong::Invented, report(line, read, floors));
    };
    if seen >= floors.least() {
        return Verdict::Right { age: age(line, read, seen) };
    }
    let revived =
        matches!(read.seen, Seen::Present(_)) && line.state(floors.least()).is_some_and(|state| !state.present);
    let wrong = match () {
        () if seen < floors.token => Wrong::BeforeToken,
        () if revived => Wrong::Revived,
        () => Wrong::TooOld,
    };
    Verdict::Wrong(wrong, report(line, read, floors))
}

/// The numbers of the oldest states that the rules allow.
#[derive(Debug, Clone, Copy)]
struct Floors {
    bound: u64,
    token: u64,
}

impl Floors {
    fn of(line: &Line, read: &Read, bound: Duration) -> Self {
        let last = |seen: &dyn Fn(u64, &State) -> bool| {
            line.from(0).rev().find(|(number, state)| seen(*number, state)).map_or(0, |(number, _)| number)
        };
        let by_bound = match read.begin.checked_sub(bound) {
            Some(moment) if !read.stale => last(&|_, state| state.acknowledged_before(moment)),
            _ => 0,
        };
        let by_token = read.mark.as_ref().map_or(0, |mark| {
            last(&|number, state| {
                state.acknowledged_before(mark.begun) || (mark.write.key == read.key && mark.write.sequence == number)
            })
        });
        Self { bound: by_bound, token: by_token }
    }

    fn least(self) -> u64 {
        self.bound.max(self.token)
    }
}

/// The number of the state that a read returned: of those that it may be, the newest that is no reproach. `None` when
/// there is none.
fn seen(line: &Line, read: &Read, least: u64) -> Option<u64> {
    let possible = |state: &State| state.begun <= read.end && state.outcome != Outcome::Refused;
    match read.seen {
        Seen::Present(write) if write.key != read.key => None,
        // From before what is remembered.
        Seen::Present(write) if write.sequence < line.first => Some(write.sequence),
        Seen::Present(write) => line
            .state(write.sequence)
            .filter(|state| possible(state) && state.present && state.writer == write.writer)
            .map(|_| write.sequence),
        Seen::Absent => {
            let absent = |state: &State| possible(state) && !state.present;
            let allowed = line.from(least).rev().find(|(_, state)| absent(state));
            let any = || line.from(0).rev().find(|(_, state)| absent(state));
            // Every key was absent once.
            allowed.or_else(any).map_or((line.first > 0).then_some(0), |(number, _)| Some(number))
        }
    }
}

/// How long the first state after the one seen had been acknowledged when the read began.
fn age(line: &Line, read: &Read, seen: u64) -> Duration {
    let later = line.from(seen + 1).filter_map(|(_, state)| match state.outcome {
        Outcome::Acknowledged(at) => Some(at),
        Outcome::Open | Outcome::Refused => None,
    });
    later.min().map_or(Duration::ZERO, |at| read.begin.saturating_sub(at))
}

fn report(line: &Line, read: &Read, floors: Floors) -> String {
    let mut text = format!(
        "{} of key {} on replica {} returned {}; it began at {} and ended at {}{}{}\n    oldest state allowed: {} by \
         the bound, {} by the token",
        read.call,
        read.key,
        read.replica + 1,
        match read.seen {
            Seen::Present(write) => format!("state {} by writer {}", write.sequence, write.writer),
            Seen::Absent => "nothing".to_owned(),
        },
        seconds(read.begin),
        seconds(read.end),
        if read.stale { ", marked stale" } else { "" },
        match &read.mark {
            Some(mark) => format!(
                ", with the token of state {} of key {}, begun at {}",
                mark.write.sequence,
                mark.write.key,
                seconds(mark.begun)
            ),
            None => String::new(),
        },
        floors.bound,
        floors.token,
    );
    let shown = match read.seen {
        Seen::Present(write) => write.sequence.min(floors.least()),
        Seen::Absent => floors.least(),
    };
    for (number, state) in line.from(shown.saturating_sub(1)).take(8) {
        let _ = write!(
            text,
            "\n    state {number}: {} by writer {}, begun at {}, {}",
            if state.present { "a product" } else { "nothing" },
            state.writer,
            seconds(state.begun),
            match state.outcome {
                Outcome::Open => "open".to_owned(),
                Outcome::Acknowledged(at) => format!("acknowledged at {}", seconds(at)),
                Outcome::Refused => "refused".to_owned(),
            },
        );
    }
    text
}

fn seconds(moment: Moment) -> String {
    format!("{:.3} s", moment.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{History, Mark, STATES, Write},
        *,
    };

    const BOUND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Moment {
        Duration::from_millis(millis)
    }

    fn read(key: usize, seen: Seen, begin: u64) -> Read {
        let (begin, end) = (at(begin), at(begin + 10));
        Read { key, replica: 0, call: "get", begin, end, seen, stale: false, mark: None }
    }

    /// Two keys; each write takes 10 ms, and writer 1 makes it.
    fn history(states: &[(usize, bool, u64)]) -> (History, Vec<Write>) {
        let history = History::new(2, BOUND);
        let writes = states.iter().map(|&(key, present, begun)| {
            let write = history.begin(key, 1, present, at(begun));
            history.acknowledge(write, Some(format!("{key}/{}", write.sequence)), at(begun + 10));
            write
        });
        let writes = writes.collect();
        (history, writes)
    }

    fn wrong(history: &History, read: &Read) -> Option<Wrong> {
        match history.check(read) {
            Verdict::Right { .. } => None,
            Verdict::Wrong(wrong, _) => Some(wrong),
        }
    }

    fn marked(history: &History, write: Write, read: &Read) -> Read {
        Read { mark: Some(history.mark(write).expect("a token")), ..read.clone() }
    }

    #[test]
    fn a_read_may_lag_by_the_bound_and_not_longer() {
        let (history, writes) = history(&[(0, true, 100), (0, true, 200)]);
        let old = |begin| read(0, Seen::Present(writes[0]), begin);
        assert!(matches!(history.check(&old(1_210)), Verdict::Right { age } if age == BOUND));
        assert_eq!(wrong(&history, &old(1_211)), Some(Wrong::TooOld));
        assert_eq!(wrong(&history, &Read { stale: true, ..old(9_000) }), None);
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[1]), 9_000)), None);
        // Not found, of what was there for longer than the bound.
        assert_eq!(wrong(&history, &read(0, Seen::Absent, 1_000)), None);
        assert_eq!(wrong(&history, &read(0, Seen::Absent, 1_111)), Some(Wrong::TooOld));
    }

    #[test]
    fn what_nobody_wrote_is_invented() {
        let (history, writes) = history(&[(0, true, 100), (1, true, 100)]);
        let forged = |write: Write| wrong(&history, &read(0, Seen::Present(write), 300));
        assert_eq!(forged(writes[0]), None);
        assert_eq!(forged(Write { sequence: 2, ..writes[0] }), Some(Wrong::Invented), "no such number");
        assert_eq!(forged(Write { writer: 2, ..writes[0] }), Some(Wrong::Invented), "another writer");
        assert_eq!(forged(Write { sequence: 0, ..writes[0] }), Some(Wrong::Invented), "the first state is absence");
        assert_eq!(forged(writes[1]), Some(Wrong::Invented), "the content of another key");
        // Seen before its writing began.
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[0]), 80)), Some(Wrong::Invented));
        assert_eq!(
            wrong(&history, &read(0, Seen::Present(writes[0]), 95)),
            None,
            "it began while the read was under way"
        );
    }

    #[test]
    fn a_refused_write_is_not_seen_and_an_open_one_may_be() {
        let (history, writes) = history(&[(0, true, 100)]);
        let open = history.begin(0, 1, true, at(200));
        for seen in [open, writes[0]] {
            assert_eq!(wrong(&history, &read(0, Seen::Present(seen), 5_000)), None);
        }
        history.refuse(open);
        assert_eq!(wrong(&history, &read(0, Seen::Present(open), 5_000)), Some(Wrong::Invented));
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[0]), 5_000)), None);
    }

    #[test]
    fn a_deleted_product_does_not_come_back() {
        let (history, writes) = history(&[(0, true, 100), (0, false, 200)]);
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[0]), 1_000)), None, "within the bound");
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[0]), 1_300)), Some(Wrong::Revived));
        assert_eq!(wrong(&history, &read(0, Seen::Absent, 1_300)), None);
    }

    #[test]
    fn what_a_database_that_went_back_has_lost_is_not_seen() {
        let states = [(0, true, 100), (0, true, 200), (0, false, 300), (0, true, 400), (1, true, 100), (1, false, 200)];
        let (history, writes) = history(&states);
        assert_eq!(history.rewind(0, Seen::Present(writes[1]), at(250)), 2);
        assert_eq!(wrong(&history, &read(0, Seen::Present(writes[1]), 9_000)), None);
        for lost in [Seen::Present(writes[3]), Seen::Absent] {
            assert!(wrong(&history, &read(0, lost, 9_000)).is_some(), "{lost:?}");
        }
        assert_eq!(history.rewind(1, Seen::Absent, at(90)), 2, "it was never there");
        assert_eq!(wrong(&history, &read(1, Seen::Present(writes[4]), 150)), Some(Wrong::Invented));
        assert_eq!(wrong(&history, &read(1, Seen::Absent, 9_000)), None);
        let next = history.begin(0, 1, true, at(500));
        assert_eq!(wrong(&history, &read(0, Seen::Present(next), 9_000)), None);
    }

    #[test]
    fn a_token_is_kept_within_the_bound_for_its_own_key_and_for_others() {
        let (history, writes) = history(&[(0, true, 100), (0, true, 200), (1, true, 300)]);
        let old = || read(0, Seen::Present(writes[0]), 400);
        assert_eq!(wrong(&history, &old()), None);
        assert_eq!(wrong(&history, &marked(&history, writes[0], &old())), None);
        assert_eq!(wrong(&history, &marked(&history, writes[1], &old())), Some(Wrong::BeforeToken));
        // The write of the other key began after the second one of this was acknowledged.
        assert_eq!(wrong(&history, &marked(&history, writes[2], &old())), Some(Wrong::BeforeToken));
        let stale = Read { stale: true, ..old() };
        assert_eq!(wrong(&history, &marked(&history, writes[1], &stale)), Some(Wrong::BeforeToken));
        let newer = read(0, Seen::Present(writes[1]), 400);
        assert_eq!(wrong(&history, &marked(&history, writes[2], &newer)), None);
    }

    #[test]
    fn writes_side_by_side_with_that_of_a_token_are_not_owed() {
        let (history, _) = history(&[]);
        let (one, other) = (history.begin(0, 1, true, at(100)), history.begin(1, 1, true, at(105)));
        history.acknowledge(one, None, at(110));
        history.acknowledge(other, Some("t".to_owned()), at(120));
        assert_eq!(wrong(&history, &marked(&history, other, &read(0, Seen::Absent, 130))), None);
    }

    #[test]
    fn the_age_is_that_of_the_first_state_missed() {
        let (history, writes) = history(&[(0, true, 100), (0, true, 200), (0, true, 300)]);
        let ages = |begin| match history.check(&read(0, Seen::Present(writes[0]), begin)) {
            Verdict::Right { age } => age,
            Verdict::Wrong(wrong, text) => panic!("{wrong}: {text}"),
        };
        assert_eq!(ages(150), Duration::ZERO);
        assert_eq!(ages(500), at(290));
    }

    #[test]
    fn what_is_no_longer_remembered_is_too_old() {
        let history = History::new(1, BOUND);
        let first = history.begin(0, 1, true, at(0));
        history.acknowledge(first, None, at(0));
        for number in 1..=STATES as u64 {
            let write = history.begin(0, 1, true, at(number));
            history.acknowledge(write, None, at(number));
        }
        let last = Write { sequence: STATES as u64 + 1, ..first };
        assert_eq!(wrong(&history, &read(0, Seen::Present(first), 60_000)), Some(Wrong::TooOld));
        assert_eq!(wrong(&history, &read(0, Seen::Absent, 60_000)), Some(Wrong::TooOld));
        assert_eq!(wrong(&history, &read(0, Seen::Present(last), 60_000)), None);
        assert!(history.mark(first).is_none());
    }

    #[test]
    fn a_report_names_the_read_and_the_write_that_it_missed() {
        let (history, writes) = history(&[(0, true, 100), (0, true, 200)]);
        let Verdict::Wrong(_, text) = history.check(&read(0, Seen::Present(writes[0]), 5_000)) else {
            panic!("it is too old");
        };
        assert!(text.contains("returned state 1 by writer 1; it began at 5.000 s"), "{text}");
        assert!(text.contains("state 2: a product by writer 1, begun at 0.200 s, acknowledged at 0.210 s"), "{text}");
    }

    #[test]
    fn the_last_tokens_are_handed_out_and_forgotten() {
        let (history, writes) = history(&[(0, true, 100), (1, true, 200)]);
        let token = |chance| history.recent(chance).map(|mark: Mark| mark.token);
        assert_eq!((token(0), token(1), token(2)), (Some("1/1".into()), Some("0/1".into()), Some("1/1".into())));
        history.forget_tokens();
        assert!(history.recent(0).is_none() && history.mark(writes[0]).is_none());
    }
}
