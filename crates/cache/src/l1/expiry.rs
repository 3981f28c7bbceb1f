//! How a copy in L1 grows old: when it expires, and when it is due to be loaded anew before that.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
    time::Duration,
};

use crate::{Moment, PolicyConfig};

/// What is decided about the life of a copy when it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// How long it lives at most.
    pub(crate) ttl: Duration,
    /// It expires when it is not read for so long.
    idle: Option<Duration>,
    /// The share of its time after which it is loaded anew.
    refresh_after: f64,
    /// How much earlier than at its end it may be loaded anew, by chance: the factor beta times what its load took.
    spread: Duration,
}

/// What a copy keeps of it, in as few bytes as will do.
#[derive(Debug)]
pub(crate) struct Ageing {
    /// Milliseconds without a read after which it expires; 0: never.
    idle: u32,
    /// Milliseconds from its beginning to when it was last read, to within a part of `idle`.
    read: AtomicU32,
    /// Microseconds, see [`Life::spread`].
    spread: u32,
    /// The share of its time after which it is loaded anew.
    refresh_after: f32,
    /// Whether it is to be loaded anew, and whether somebody does.
    refresh: AtomicU8,
}

const UNWANTED: u8 = 0;
const WANTED: u8 = 1;
const UNDER_WAY: u8 = 2;

/// How it stands with the time of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It may be served.
    Live,
    /// It may be served, and is to be loaded anew by whoever is told so and can.
    Due,
    /// Its time has passed.
    Expired,
}

/// How many spreads before its end a copy may be due: earlier it is with a chance of less than one in a thousand million.
const SPREADS: u32 = 21;
/// The time of the last read is brought up to date when it is behind by this part of `idle`, not with each read.
const PARTS: u32 = 16;

impl Life {
    /// By a policy, with the time that chance has left of it, and what the load took.
    pub(crate) fn new(policy: &PolicyConfig, ttl: Duration, load: Duration) -> Self {
        let beta = policy.early_refresh.max(0.0);
        let spread = Duration::try_from_secs_f64(load.as_secs_f64() * beta).unwrap_or(Duration::MAX);
        Self { ttl, idle: policy.idle, refresh_after: policy.refresh_after, spread }
    }

    /// A life that ends with its time and no other way.
    pub(crate) fn plain(ttl: Duration) -> Self {
        Self { ttl, idle: None, refresh_after: 1.0, spread: Duration::ZERO }
    }

    /// The first moment at which a copy may be anything but live.
    pub(crate) fn due(&self, began: Moment) -> Moment {
        if self.idle.is_some() {
            // Each read has to be noted.
            return began;
        }
        let early = self.ttl.saturating_sub(self.spread.saturating_mul(SPREADS));
        began.plus(early.min(share(self.ttl, self.refresh_after)))
    }

    /// Whether a copy with so much time left is to be made anew.
    pub(crate) fn wants_another(&self, left: Duration, chance: impl FnOnce() -> f64) -> bool {
        left <= self.ttl.saturating_sub(share(self.ttl, self.refresh_after)) || early(self.spread, left, chance)
    }

    pub(crate) fn ageing(&self) -> Ageing {
        let idle = self.idle.map_or(0, |idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX).max(1));
        #[expect(clippy::cast_possible_truncation, reason = "a share")]
        let refresh_after = self.refresh_after as f32;
        Ageing {
            idle,
            read: AtomicU32::new(0),
            spread: u32::try_from(self.spread.as_micros()).unwrap_or(u32::MAX),
            refresh_after,
            refresh: AtomicU8::new(UNWANTED),
        }
    }
}

impl Ageing {
    /// When a copy expires that is not read until then.
    pub(crate) fn expires(&self, began: Moment, deadline: Moment) -> Moment {
        if self.idle == 0 {
            return deadline;
        }
        let read = u64::from(self.read.load(Ordering::Relaxed)) + u64::from(self.idle);
        deadline.min(began.plus(Duration::from_millis(read)))
    }

    /// How it stands with a copy. Of those who can load it anew, and say so, one alone is told that it is due; who cannot is
    /// told so until one has been. `chance` is a number from 0 to 1, asked for where chance decides.
    pub(crate) fn stage(
        &self,
        began: Moment,
        deadline: Moment,
        now: Moment,
        can_load: bool,
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
        if !can_load {
            // Unless somebody has begun meanwhile.
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

/// Whether chance has a copy loaded anew this long before its end: `XFetch`'s test, `-delta * beta * ln(random) >= left`.
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

    fn stage(ageing: &Ageing, seconds: f64, chance: f64) -> Stage {
        let now = BEGAN.plus(Duration::from_secs_f64(seconds));
        ageing.stage(BEGAN, BEGAN.plus(TTL), now, true, || chance)
    }

    fn life(policy: &PolicyConfig, load: Duration) -> (Moment, Ageing) {
        let life = Life::new(policy, TTL, load);
        (life.due(BEGAN), life.ageing())
    }

    fn policy() -> PolicyConfig {
        PolicyConfig { early_refresh: 0.0, ..PolicyConfig::default() }
    }

    #[test]
    fn a_plain_life_ends_with_its_time() {
        let (due, ageing) = life(&policy(), Duration::from_secs(1));
        assert_eq!(due, BEGAN.plus(TTL));
        assert_eq!(stage(&ageing, 99.9, 0.0), Stage::Live);
        assert_eq!(stage(&ageing, 100.0, 0.0), Stage::Expired);
    }

    #[test]
    fn reads_keep_a_sliding_copy_up_to_its_deadline() {
        let idle = Some(Duration::from_secs(10));
        let (due, ageing) = life(&PolicyConfig { idle, ..policy() }, Duration::ZERO);
        assert_eq!(due, BEGAN, "every read counts");
        for second in (9..100).step_by(9) {
            assert_eq!(stage(&ageing, f64::from(second), 0.0), Stage::Live, "{second}");
        }
        assert_eq!(stage(&ageing, 100.0, 0.0), Stage::Expired, "the absolute limit");
        let (_, unread) = life(&PolicyConfig { idle, ..policy() }, Duration::ZERO);
        assert_eq!(stage(&unread, 5.0, 0.0), Stage::Live);
        assert_eq!(unread.expires(BEGAN, BEGAN.plus(TTL)), BEGAN.plus(Duration::from_secs(15)));
        assert_eq!(stage(&unread, 15.1, 0.0), Stage::Expired);
    }

    #[test]
    fn eagerly_refreshed_once() {
        let (due, ageing) = life(&PolicyConfig { refresh_after: 0.8, ..policy() }, Duration::ZERO);
        assert_eq!(due, BEGAN.plus(Duration::from_secs(80)));
        assert_eq!(stage(&ageing, 79.0, 0.0), Stage::Live);
        assert_eq!(stage(&ageing, 81.0, 0.0), Stage::Due);
        assert_eq!(stage(&ageing, 82.0, 0.0), Stage::Live, "somebody does it");
        assert_eq!(stage(&ageing, 100.0, 0.0), Stage::Expired);
    }

    #[test]
    fn who_cannot_load_leaves_it_to_one_who_can() {
        let (_, ageing) = life(&PolicyConfig { refresh_after: 0.5, ..policy() }, Duration::ZERO);
        let at = |can_load| ageing.stage(BEGAN, BEGAN.plus(TTL), BEGAN.plus(TTL / 2), can_load, || 1.0);
        assert_eq!((at(false), at(false)), (Stage::Due, Stage::Due));
        assert_eq!((at(true), at(true), at(false)), (Stage::Due, Stage::Live, Stage::Live));
    }

    #[test]
    fn chance_refreshes_early_as_the_paper_has_it() {
        let early = |left: f64, chance: f64| {
            let (_, ageing) = life(&PolicyConfig { early_refresh: 2.0, ..policy() }, Duration::from_secs(1));
            stage(&ageing, 100.0 - left, chance) == Stage::Due
        };
        // -1 s * 2 * ln(e^-3) = 6 s
        let chance = (-3.0_f64).exp();
        assert!(early(5.9, chance) && !early(6.1, chance));
        assert!(!early(50.0, f64::MIN_POSITIVE), "beyond all chance");
        assert!(!early(0.1, 1.0) && early(0.1, 0.5));
        let (due, _) = life(&PolicyConfig { early_refresh: 2.0, ..policy() }, Duration::from_secs(1));
        assert_eq!(due, BEGAN.plus(Duration::from_secs(100 - 2 * u64::from(SPREADS))));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let policy =
            PolicyConfig { idle: Some(Duration::MAX), early_refresh: f64::MAX, refresh_after: 0.0, ..policy() };
        let life = Life::new(&policy, Duration::MAX, Duration::MAX);
        let ageing = life.ageing();
        let end = life.due(BEGAN).plus(Duration::MAX);
        assert_eq!(ageing.stage(BEGAN, end, BEGAN.plus(TTL), true, || 0.0), Stage::Due);
        assert_eq!(Life::plain(Duration::ZERO).due(BEGAN), BEGAN);
    }
}
