//! The protocol as it is keeps its invariants in every state that a scenario can reach.
use larder_model::{Protocol, Remedies, Scenario};
use stateright::{Checker as _, Model as _};

fn holds(name: &str, scenario: Scenario) {
    let checker = Protocol { scenario, remedies: Remedies::ALL }.checker().threads(1).spawn_bfs().join();
    println!("{name}: {} unique states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    if let Some((invariant, path)) = checker.discoveries().into_iter().next() {
        panic!("{invariant} broken by {:?}", path.into_actions());
    }
    assert!(checker.is_done());
}

#[test] fn updates() { holds("updates", Scenario::updates()); }
#[test] fn creation() { holds("creation", Scenario::creation()); }
#[test] fn rebirth() { holds("rebirth", Scenario::rebirth()); }
#[test] fn moving() { holds("moving", Scenario::moving()); }
#[test] fn membership() { holds("membership", Scenario::membership()); }
#[test] fn rules() { holds("rules", Scenario::rules()); }
#[test] fn invalidation() { holds("invalidation", Scenario::invalidation()); }
#[test] fn forgetting() { holds("forgetting", Scenario::forgetting()); }
#[test] fn lives() { holds("lives", Scenario::lives()); }
#[test] fn order() { holds("order", Scenario::order()); }
#[test] fn pair() { holds("pair", Scenario::pair()); }
