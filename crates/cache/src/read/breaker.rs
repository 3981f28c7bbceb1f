//! The circuit breaker of the database.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{error::LoadError, time::Moment};

/// While the breaker is open, one load in this time tries whether the database answers again.
const PROBE: Duration = Duration::from_millis(250);

/// Opens when loads are under way and none has been answered for some time, as by a database that is frozen. Loads then fail at once
/// instead of after their time limit; one of them is let through now and then, and the first answer closes the breaker.
///
/// Errors count as answers: a database that refuses connections costs no time.
#[derive(Debug)]
pub(crate) struct Breaker {
    patience: Duration,
    silence: Mutex<Silence>,
}

#[derive(Debug)]
struct Silence {
    /// When the first load began since the last answer.
    since: Option<Moment>,
    probed: Moment,
}

impl Breaker {
    /// A closed breaker that opens after `patience` without an answer.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, silence: Mutex::new(Silence { since: None, probed: Moment::NEVER }) }
    }

    /// Lets a load through or not.
    pub(super) fn admit(&self, now: Moment) -> Result<(), LoadError> {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *silence.since.get_or_insert(now);
        if now.since(since) < self.patience {
            return Ok(());
        }
        if now.since(silence.probed) < PROBE {
            return Err(LoadError::Unavailable("it has not answered for some time".into()));
        }
        if silence.probed < since {
            tracing::warn!("the database does not answer, loads fail at once");
        }
        silence.probed = now;
        Ok(())
    }

    /// Notes that the database has answered.
    pub(super) fn answered(&self) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = silence.since.take()
            && silence.probed > since
        {
            tracing::info!("the database answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    #[test]
    fn silence_opens_it_and_an_answer_closes_it() {
        let (clock, second, moment) = (Clock::manual(), Duration::from_secs(1), Duration::from_millis(1));
        let breaker = Breaker::new(second + moment);
        let admits = || breaker.admit(clock.now()).is_ok();
        clock.advance(second);
        assert!(admits());
        clock.advance(second);
        assert!(admits());
        clock.advance(moment);
        assert_eq!((admits(), admits()), (true, false), "one probe");
        clock.advance(PROBE);
        assert_eq!((admits(), admits()), (true, false));
        breaker.answered();
        assert_eq!((admits(), admits()), (true, true));
        breaker.answered();
        clock.advance(second * 100);
        assert!(admits(), "nobody asked, so nobody had to answer");
    }
}
