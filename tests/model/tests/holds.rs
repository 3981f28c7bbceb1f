//! The protocol as it is keeps its invariants in every state that a scenario can reach.

use std::{
    num::NonZero,
    sync::{Condvar, LazyLock, Mutex, PoisonError},
    thread::available_parallelism,
};

use larder_model::{L1_IS_USED, L2_IS_USED, Protocol, Remedies, Scenario};
use stateright::{Checker as _, Expectation, Model as _};

/// How many more searches may begin: each holds all states that it has seen in memory, so that there are no more at once than
/// the machine has cores, however many tests run.
static PLACES: LazyLock<Mutex<usize>> = LazyLock::new(|| Mutex::new(available_parallelism().map_or(1, NonZero::get)));
static LEFT: Condvar = Condvar::new();

/// The right to search; it goes to the next one when this is dropped.
struct Turn;

impl Turn {
    fn take() -> Self {
        let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        *LEFT.wait_while(places, |places| *places == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *PLACES.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        LEFT.notify_one();
    }
}

/// Visits every state, and sees that none breaks an invariant while copies are used.
fn holds(name: &str, scenario: Scenario) {
    let _turn = Turn::take();
    let redis = scenario.redis;
    let checker = Protocol { scenario, remedies: Remedies::ALL }.checker().threads(1).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} unique states, at most {} steps deep", checker.max_depth());
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        if let (Expectation::Always, Some(path)) = (&property.expectation, checker.discovery(property.name)) {
            panic!("{} is broken by {:?}", property.name, path.into_actions());
        }
    }
    assert!(checker.is_done(), "the search was cut short after {states} states");
    assert!(discoveries.contains_key(L1_IS_USED), "nothing is ever kept in L1");
    assert_eq!(discoveries.contains_key(L2_IS_USED), redis, "frames are used if, and only if, there is Redis");
}

macro_rules! hold {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            holds(stringify!($name), Scenario::$name());
        }
    )*};
}

hold! { forgetting pair lives membership rebirth moving rules invalidation flood updates order creation late shelf }
