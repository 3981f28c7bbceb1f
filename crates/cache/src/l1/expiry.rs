//! Expiry: when a copy in L1 expires, and when it is due for a refresh before that.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
    time::Duration,
};

use crate::{config::PolicyConfig, time::Moment};

/// How a copy expires, decided when the copy is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expiry {
    /// The longest time that the copy lives.
    pub(crate) ttl: Duration,
    /// The copy expires when it has not been read for this long.
    idle: Option<Duration>,
    /// The share of the time to live after which the copy is refreshed.
    refresh_after: f64,
    /// How far before its end the copy may be refreshed by chance: the factor beta times the duration of the load.
    spread: Duration,
}

/// The part of [`Expiry`] that an entry keeps, in as few bytes as possible.
#[derive(Debug)]
pub(crate) struct ExpiryState {
    /// Milliseconds without a read after which the copy expires; 0: never.
    idle: u32,
    /// Milliseconds from the start of the copy to its last read, accurate to a fraction of `idle`.
    read: AtomicU32,
    /// [`Expiry::spread`] in microseconds.
    spread: u32,
    /// The share of the time to live after which the copy is refreshed.
    refresh_after: f32,
    /// Whether a refresh is wanted or in flight.
    refresh: AtomicU8,
}

const UNWANTED: u8 = 0;
const WANTED: u8 = 1;
const UNDER_WAY: u8 = 2;

/// How far a copy has aged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The copy may be served.
    Live,
    /// The copy may be served, and the reader who is told so reloads it if possible.
    Due,
    /// The copy has expired.
    Expired,
}

/// Whether a reader can reload a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The reader can.
    Possible,
    /// The reader cannot.
    Impossible,
}

/// How many spreads before its end a copy may be due. The chance of an earlier refresh is below one in a thousand million.
const SPREADS: u32 = 21;
/// The time of the last read is updated when it lags by `idle / PARTS`, not on every read.
const PARTS: u32 = 16;

impl Expiry {
    /// Expiry by a policy, with `ttl` already shortened by jitter, for a load that took `load`.
    pub(crate) fn new(policy: &PolicyConfig, ttl: Duration, load: Duration) -> Self {
        let beta = policy.early_refresh.max(0.0);
        let spread = Duration::try_from_secs_f64(load.as_secs_f64() * beta).unwrap_or(Duration::MAX);
        Self { ttl, idle: policy.idle, refresh_after: policy.refresh_after, spread }
    }

    /// Expiry at the end of the time to live and in no other way.
    pub(crate) fn plain(ttl: Duration) -> Self {
        Self { ttl, idle: None, refresh_after: 1.0, spread: Duration::ZERO }
    }

    /// The first moment at which the copy may be anything but live.
    pub(crate) fn due(&self, began: Moment) -> Moment {
        if self.idle.is_some() {
            // Every read has to be recorded.
            return began;
        }
        let early = self.ttl.saturating_sub(self.spread.saturating_mul(SPREADS));
        began.plus(early.min(share(self.ttl, self.refresh_after)))
    }

    /// Whether a copy with this much time left is to be refreshed.
    pub(crate) fn wants_refresh(&self, left: Duration, chance: impl FnOnce() -> f64) -> bool {
        left <= self.ttl.saturating_sub(share(self.ttl, self.refresh_after)) || early(self.spread, left, chance)
    }

    /// The state that an entry keeps.
    pub(crate) fn state(&self) -> ExpiryState {
        let idle = self.idle.map_or(0, |idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX).max(1));
        #[expect(clippy::cast_possible_truncation, reason = "a share")]
        let refresh_after = self.refresh_after as f32;
        ExpiryState {
            idle,
            read: AtomicU32::new(0),
            spread: u32::try_from(self.spread.as_micros()).unwrap_or(u32::MAX),
            refresh_after,
            refresh: AtomicU8::new(UNWANTED),
        }
    }
}

impl ExpiryState {
    /// When a copy expires unless it is read before.
    pub(crate) fn expires(&self, began: Moment, deadline: Moment) -> Moment {
        if self.idle == 0 {
            return deadline;
        }
        let read = u64::from(self.read.load(Ordering::Relaxed)) + u64::from(self.idle);
        deadline.min(began.plus(Duration::from_millis(read)))
    }

    /// How far a copy has aged. Of the readers who can reload a due copy, exactly one is told so; readers who cannot are told so
    /// until then. `chance` draws a number from 0 to 1, and is called only where chance decides.
    pub(crate) fn stage(
        &self,
        began: Moment,
        deadline: Moment,
        now: Moment,
        reload: Reload,
        chance: impl FnOnce() -> f64,
    ) -> Stage {
        if now >= self.expires(began, deadline) {
            return Stage::Expired;
        }
        self.note_read(now.since(began));
        match self.refresh.load(Ordering::Relaxed) {
            UNDER_WAY => return Stage::Live,
            UNWANTED if !self.wanted(began, deadline, now, chance) => return Stage::Live,
            _ => {}
        }
        if reload == Reload::Impossible {
            // Fails if another reader has begun meanwhile, which is fine.
            let _ = self.refresh.compare_exchange(UNWANTED, WANTED, Ordering::Relaxed, Ordering::Relaxed);
            return Stage::Due;
        }
        if self.refresh.swap(UNDER_WAY, Ordering::Relaxed) == UNDER_WAY { Stage::Live } else { Stage::Due }
    }

    fn wanted(&self, began: Moment, deadline: Moment, now: Moment, chance: impl FnOnce() -> f64) -> bool {
        now >= began.plus(share(deadline.since(began), f64::from(self.refresh_after)))
            || early(Duration::from_micros(u64::from(self.spread)), deadline.since(now), chance)
    }

    fn note_read(&self, age: Duration) {
        if self.idle == 0 {
            return;
        }
        let age = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        if age.saturating_sub(self.read.load(Ordering::Relaxed)) >= (self.idle / PARTS).max(1) {
            self.read.fetch_max(age, Ordering::Relaxed);
        }
    }
}

/// Whether chance refreshes a copy this long before its end: the test of `XFetch`, `-delta * beta * ln(random) >= left`.
fn early(spread: Duration, left: Duration, chance: impl FnOnce() -> f64) -> bool {
    if spread.is_zero() || left > spread.saturating_mul(SPREADS) {
        return false;
    }
    let drawn = -chance().max(f64::MIN_POSITIVE).ln();
    spread.as_secs_f64() * drawn >= left.as_secs_f64()
}

fn share(time: Duration, share: f64) -> Duration {
    if share >= 1.0 {
        return time;
    }
    Duration::try_from_secs_f64(time.as_secs_f64() * share.max(0.0)).unwrap_or(time).min(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(100);
    const BEGAN: Moment = Moment::NEVER;

    fn stage(state: &ExpiryState, seconds: f64, chance: f64) -> Stage {
        let now = BEGAN.plus(Duration::from_secs_f64(seconds));
        state.stage(BEGAN, BEGAN.plus(TTL), now, Reload::Possible, || chance)
    }

    fn expiry(policy: &PolicyConfig, load: Duration) -> (Moment, ExpiryState) {
        let expiry = Expiry::new(policy, TTL, load);
        (expiry.due(BEGAN), expiry.state())
    }

    fn policy() -> PolicyConfig {
        PolicyConfig { early_refresh: 0.0, ..PolicyConfig::default() }
    }

    #[test]
    fn a_plain_life_ends_with_its_time() {
        let (due, state) = expiry(&policy(), Duration::from_secs(1));
        assert_eq!(due, BEGAN.plus(TTL));
        assert_eq!(stage(&state, 99.9, 0.0), Stage::Live);
        assert_eq!(stage(&state, 100.0, 0.0), Stage::Expired);
    }

    #[test]
    fn reads_keep_a_sliding_copy_up_to_its_deadline() {
        let idle = Some(Duration::from_secs(10));
        let (due, state) = expiry(&PolicyConfig { idle, ..policy() }, Duration::ZERO);
        assert_eq!(due, BEGAN, "every read counts");
        for second in (9..100).step_by(9) {
            assert_eq!(stage(&state, f64::from(second), 0.0), Stage::Live, "{second}");
        }
        assert_eq!(stage(&state, 100.0, 0.0), Stage::Expired, "the absolute limit");
        let (_, unread) = expiry(&PolicyConfig { idle, ..policy() }, Duration::ZERO);
        assert_eq!(stage(&unread, 5.0, 0.0), Stage::Live);
        assert_eq!(unread.expires(BEGAN, BEGAN.plus(TTL)), BEGAN.plus(Duration::from_secs(15)));
        assert_eq!(stage(&unread, 15.1, 0.0), Stage::Expired);
    }

    #[test]
    fn eagerly_refreshed_once() {
        let (due, state) = expiry(&PolicyConfig { refresh_after: 0.8, ..policy() }, Duration::ZERO);
        assert_eq!(due, BEGAN.plus(Duration::from_secs(80)));
        assert_eq!(stage(&state, 79.0, 0.0), Stage::Live);
        assert_eq!(stage(&state, 81.0, 0.0), Stage::Due);
        assert_eq!(stage(&state, 82.0, 0.0), Stage::Live, "somebody does it");
        assert_eq!(stage(&state, 100.0, 0.0), Stage::Expired);
    }

    #[test]
    fn who_cannot_load_leaves_it_to_one_who_can() {
        let (_, state) = expiry(&PolicyConfig { refresh_after: 0.5, ..policy() }, Duration::ZERO);
        let at = |can_load| {
            let reload = if can_load { Reload::Possible } else { Reload::Impossible };
            state.stage(BEGAN, BEGAN.plus(TTL), BEGAN.plus(TTL / 2), reload, || 1.0)
        };
        assert_eq!((at(false), at(false)), (Stage::Due, Stage::Due));
        assert_eq!((at(true), at(true), at(false)), (Stage::Due, Stage::Live, Stage::Live));
    }

    #[test]
    fn chance_refreshes_early_as_the_paper_has_it() {
        let early = |left: f64, chance: f64| {
            let (_, state) = expiry(&PolicyConfig { early_refresh: 2.0, ..policy() }, Duration::from_secs(1));
            stage(&state, 100.0 - left, chance) == Stage::Due
        };
        // -1 s * 2 * ln(e^-3) = 6 s
        let chance = (-3.0_f64).exp();
        assert!(early(5.9, chance) && !early(6.1, chance));
        assert!(!early(50.0, f64::MIN_POSITIVE), "beyond all chance");
        assert!(!early(0.1, 1.0) && early(0.1, 0.5));
        let (due, _) = expiry(&PolicyConfig { early_refresh: 2.0, ..policy() }, Duration::from_secs(1));
        assert_eq!(due, BEGAN.plus(Duration::from_secs(100 - 2 * u64::from(SPREADS))));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let policy =
            PolicyConfig { idle: Some(Duration::MAX), early_refresh: f64::MAX, refresh_after: 0.0, ..policy() };
        let expiry = Expiry::new(&policy, Duration::MAX, Duration::MAX);
        let state = expiry.state();
        let end = expiry.due(BEGAN).plus(Duration::MAX);
        assert_eq!(state.stage(BEGAN, end, BEGAN.plus(TTL), Reload::Possible, || 0.0), Stage::Due);
        assert_eq!(Expiry::plain(Duration::ZERO).due(BEGAN), BEGAN);
    }
}
