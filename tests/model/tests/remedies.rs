//! What each remedy is for: without it, there is a way to break an invariant.

use std::collections::BTreeSet;

use larder_model::{Invariant, Invariant::*, Protocol, Remedies, Remedy, Scenario};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// Looks for the shortest way to break `invariant` where `remedy` is missing.
fn needs(remedy: Remedy, scenario: Scenario, invariant: Invariant) {
    let remedies = Remedies::ALL.without(remedy);
    let broken = HasDiscoveries::AnyOf(BTreeSet::from([invariant.name()]));
    let checker = Protocol { scenario, remedies }.checker().threads(1).finish_when(broken).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(invariant.name()) else {
        panic!("without {remedy:?}, {} holds in {states} states all the same", invariant.name());
    };
    println!("without {remedy:?}, {} breaks ({states} states): {:?}", invariant.name(), path.into_actions());
}

macro_rules! needed {
    ($($name:ident: $remedy:ident, $scenario:ident, $invariant:ident;)*) => {$(
        #[test]
        fn $name() {
            needs(Remedy::$remedy, Scenario::$scenario(), $invariant);
        }
    )*};
}

needed! {
    generation_when_stored: GenerationWhenStored, updates, NoStaleFill;
    generation_when_served: GenerationWhenServed, moving, BoundedStaleness;
    capture_first: CaptureFirst, updates, NoStaleFill;
    rule_counter_captured: RuleCounterCaptured, rules, NoStaleFill;
    capture_in_flight_key: CaptureInFlightKey, updates, NoStaleFill;
    proof_read_first: ProofReadFirst, updates, BoundedStaleness;
    only_loads_have_age: OnlyLoadsHaveAge, updates, BoundedStaleness;
    remember_before_age: RememberBeforeAge, updates, NoStaleFill;
    learn_again: LearnAgain, updates, BoundedStaleness;
    maxima: Maxima, updates, NoStaleFill;
    follower: Follower, updates, BoundedStaleness;
    snapshot_not_cursor: SnapshotNotCursor, order, BoundedStaleness;
    learn_before_publish: LearnBeforePublish, updates, BoundedStaleness;
    time_before_query: TimeBeforeQuery, updates, BoundedStaleness;
    sleeper_starts_anew: SleeperStartsAnew, forgetting, BoundedStaleness;
    start_at_pruned: StartAtPruned, forgetting, BoundedStaleness;
    first_pass_ages: FirstPassAges, forgetting, BoundedStaleness;
    no_frame_before_pass: NoFrameBeforePass, updates, BoundedStaleness;
    flood_starts_anew: FloodStartsAnew, flood, BoundedStaleness;
    message_of_our_life: MessageOfOurLife, lives, NoStaleFill;
    forgetting_raises_start: ForgettingRaisesStart, forgetting, NoStaleFill;
    frame_above_start: FrameAboveStart, forgetting, BoundedStaleness;
    frame_of_our_life: FrameOfOurLife, lives, BoundedStaleness;
    follower_notices_life: FollowerNoticesLife, lives, BoundedStaleness;
    item_by_version: ItemByVersion, updates, NoStaleFill;
    absence_by_horizon: AbsenceByHorizon, creation, NoStaleFill;
    list_by_horizon: ListByHorizon, moving, NoStaleFill;
    frame_above_invalidation: FrameAboveInvalidation, invalidation, NoStaleFill;
    frame_above_rules: FrameAboveRules, rules, NoStaleFill;
    horizon_is_xmin: HorizonIsXmin, creation, NoStaleFill;
    own_horizon_of_statement: OwnHorizonOfStatement, updates, NoStaleFill;
    delete_draws_version: DeleteDrawsVersion, rebirth, NoStaleFill;
    old_terms: OldTerms, moving, BoundedStaleness;
    own_write_not_stored: OwnWriteNotStored, updates, NoStaleFill;
}
