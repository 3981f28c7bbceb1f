//! How many calls there may be at once, and how many a caller may begin in a time.
//!
//! A call that is answered at once, as a hit is, takes no place. Other calls take one when they first wait, even if only for their
//! own message, because waiting is what holds memory. A write takes its place before it begins: it must not be refused halfway.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tonic::Status;

use super::{
    caller::CallerKey,
    methods,
    shares::{Share, Shares},
};
use crate::{config::AdmissionConfig, grpc::errors};

/// Admits the calls of a listener.
#[derive(Debug)]
pub struct Admission {
    places: Shares,
    /// Places of health checks and reflection, which no other call takes.
    aside: Shares,
    rates: Option<Rates>,
    too_many: AtomicU64,
    too_often: AtomicU64,
}

/// Streams of health checks and reflection at once, and such calls that wait for their message.
const ASIDE: usize = 1_024;
/// Callers whose rates are known at once, at some 200 bytes each. Beyond them newcomers share one rate.
const MOST_CALLERS: usize = 65_536;

impl Admission {
    /// Nobody has called yet.
    pub fn new(limits: AdmissionConfig) -> Self {
        Self {
            places: Shares::with(limits.calls, limits.calls_per_caller),
            aside: Shares::new(ASIDE),
            rates: limits.rate.map(|rate| Rates::new(Quota::per_second(rate.per_second).allow_burst(rate.burst))),
            too_many: AtomicU64::new(0),
            too_often: AtomicU64::new(0),
        }
    }

    /// Admits a call that begins.
    pub(super) fn begin(&self, path: &str, caller: &CallerKey) -> Result<(), Status> {
        let Some(rates) = self.rates.as_ref().filter(|_| !methods::is_aside(path)) else { return Ok(()) };
        rates.take(caller).map_err(|wait| {
            self.too_often.fetch_add(1, Ordering::Relaxed);
            errors::rate_limited(wait)
        })
    }

    /// Takes a place for a call that is about to wait.
    pub(super) fn wait(&self, path: &str, caller: CallerKey) -> Result<Share, Status> {
        let places = if methods::is_aside(path) { &self.aside } else { &self.places };
        places.take(caller).ok_or_else(|| {
            self.too_many.fetch_add(1, Ordering::Relaxed);
            errors::too_many_calls()
        })
    }

    /// Refused calls by their reasons.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 2] {
        let counts = [("too_many_calls", &self.too_many), ("rate_limited", &self.too_often)];
        counts.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, NoOpMiddleware>;

/// The rates of callers.
#[derive(Debug)]
struct Rates {
    quota: Quota,
    /// After this time without a call a caller may do what a new one may, and need not be known.
    forgotten: Duration,
    clock: DefaultClock,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    callers: HashMap<CallerKey, Recent>,
    swept: Instant,
    others: Limiter,
}

#[derive(Debug)]
struct Recent {
    limiter: Limiter,
    last: Instant,
}

/// governor's own measure of time.
type Instant = <DefaultClock as Clock>::Instant;

impl Rates {
    fn new(quota: Quota) -> Self {
        let forgotten = quota.burst_size_replenished_in();
        let clock = DefaultClock::default();
        let known = Known { callers: HashMap::new(), swept: clock.now(), others: RateLimiter::direct(quota) };
        Self { quota, forgotten, clock, known: Mutex::new(known) }
    }

    /// Counts a call; the error is how long its caller has to wait.
    fn take(&self, caller: &CallerKey) -> Result<(), Duration> {
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = known.limiter(caller, now, self).check();
        drop(known);
        decision.map_err(|until| until.wait_time_from(now))
    }
}

impl Known {
    fn limiter(&mut self, caller: &CallerKey, now: Instant, rates: &Rates) -> &Limiter {
        let since = |then: Instant| now.duration_since(then);
        if self.callers.len() >= MOST_CALLERS && !self.callers.contains_key(caller) {
            // Each sweep looks at all of them, so it must not follow the last one at once.
            if since(self.swept) >= rates.forgotten {
                self.swept = now;
                self.callers.retain(|_, recent| since(recent.last) < rates.forgotten);
            }
            if self.callers.len() >= MOST_CALLERS {
                return &self.others;
            }
        }
        let recent = self.callers.entry(caller.clone());
        let recent = recent.or_insert_with(|| Recent { limiter: RateLimiter::direct(rates.quota), last: now });
        recent.last = now;
        &recent.limiter
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZero, sync::Arc};

    use super::*;
    use crate::auth;

    const GET: &str = "/larder.catalog.v1.ProductCatalog/GetProduct";
    const HEALTH: &str = "/grpc.health.v1.Health/Check";

    fn address(number: u32) -> CallerKey {
        CallerKey::Address(std::net::Ipv4Addr::from(number).into())
    }

    fn named(name: &str) -> CallerKey {
        CallerKey::Named(Arc::new(auth::Caller { name: name.to_owned(), role: None, by: "token" }))
    }

    /// So slow that no test lasts until another call is allowed.
    fn slow(burst: u32) -> Rates {
        let quota = Quota::with_period(Duration::from_hours(24)).unwrap();
        Rates::new(quota.allow_burst(NonZero::new(burst).unwrap()))
    }

    #[test]
    fn callers_have_their_shares_and_health_has_places_of_its_own() {
        let admission = Admission::new(AdmissionConfig { calls: 5, calls_per_caller: 3, rate: None });
        let of = |caller: &CallerKey| admission.wait(GET, caller.clone()).ok();
        let [one, other] = [named("one"), address(1)];
        let mut held: Vec<_> = std::iter::from_fn(|| of(&one)).collect();
        assert_eq!(held.len(), 3);
        held.extend(std::iter::from_fn(|| of(&other)));
        assert_eq!(held.len(), 5);
        assert!(admission.wait(HEALTH, one.clone()).is_ok());
        assert_eq!(admission.refused()[0], ("too_many_calls", 2));
        held.pop();
        assert!(of(&one).is_none() && of(&other).is_some());
    }

    #[test]
    fn callers_have_a_rate_each() {
        let admission = Admission { rates: Some(slow(4)), ..Admission::new(AdmissionConfig::default()) };
        let calls = |caller: &CallerKey| (0..10).filter(|_| admission.begin(GET, caller).is_ok()).count();
        assert_eq!([calls(&named("one")), calls(&named("one")), calls(&named("other"))], [4, 0, 4]);
        assert_eq!([calls(&address(1)), calls(&address(2))], [4, 4]);
        assert!((0..10).all(|_| admission.begin(HEALTH, &address(1)).is_ok()));
        assert_eq!(admission.refused()[1], ("rate_limited", 34));
    }

    #[test]
    fn many_callers_cost_a_bounded_number_of_places() {
        let rates = slow(2);
        for number in 0..MOST_CALLERS {
            assert!(rates.take(&address(u32::try_from(number).unwrap())).is_ok());
        }
        let newcomers = (0..100).filter(|number| rates.take(&named(&number.to_string())).is_ok()).count();
        assert_eq!(newcomers, 2, "they share a rate");
        assert_eq!(rates.known.lock().unwrap().callers.len(), MOST_CALLERS);
        assert!(rates.take(&address(7)).is_ok(), "of its own rate");
    }
}
