//! Which connections may be taken for alive.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a connection that said nothing is taken for alive.
const SILENCE: Duration = Duration::from_secs(5);

/// When connections of this repository were last found wanting. Those that have not been heard of since are asked before they are
/// used, or given up: a network that forgot one connection has mostly forgotten all.
#[derive(Debug, Default)]
pub(super) struct Trust(Mutex<Marks>);

#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    doubted: Option<Instant>,
    given_up: Option<Instant>,
}

/// What is to be done with a connection before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Alive,
    /// To be asked whether the server is there.
    Doubtful,
    /// To be closed.
    Dead,
}

impl Trust {
    /// A connection ended in the middle of something.
    pub(super) fn doubt(&self, now: Instant) {
        self.mark(|marks| marks.doubted = Some(now));
    }

    /// A connection did not answer when it was asked whether the server is there.
    pub(super) fn give_up(&self, now: Instant) {
        self.mark(|marks| marks.given_up = Some(now));
    }

    /// What to do with a connection on which the server last `answered` then.
    pub(super) fn judge(&self, answered: Instant, now: Instant) -> Verdict {
        let marks = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |mark: Option<Instant>| mark.is_some_and(|mark| answered <= mark);
        if before(marks.given_up) {
            Verdict::Dead
        } else if before(marks.doubted) || now.duration_since(answered) >= SILENCE {
            Verdict::Doubtful
        } else {
            Verdict::Alive
        }
    }

    fn mark(&self, mark: impl FnOnce(&mut Marks)) {
        mark(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_heard_of_since_is_asked_or_given_up() {
        let (trust, start, second) = (Trust::default(), Instant::now(), Duration::from_secs(1));
        let at = |seconds| start + second * seconds;
        let verdicts = |now| [0, 1, 2, 3].map(|answered| trust.judge(at(answered), at(now)));
        let (alive, doubtful, dead) = (Verdict::Alive, Verdict::Doubtful, Verdict::Dead);
        assert_eq!(verdicts(3), [alive; 4]);
        assert_eq!(verdicts(6), [doubtful, doubtful, alive, alive]);
        trust.doubt(at(2));
        assert_eq!(verdicts(3), [doubtful, doubtful, doubtful, alive]);
        trust.give_up(at(1));
        assert_eq!(verdicts(3), [dead, dead, doubtful, alive]);
    }
}
