//! A database with several lives: the protocol holds, and each remedy is needed.

use std::collections::BTreeSet;

use larder_model::{
    Invariant::{self, *},
    L1_IS_USED, L2_IS_USED, Remedies, Remedy,
    lives::{Kind, Protocol, Scenario, Walk, walk},
};
use stateright::{Checker as _, Expectation, HasDiscoveries, Model as _};

/// Visits every state, and sees that none breaks an invariant while copies are used.
fn holds(name: &str, scenario: Scenario) {
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
    assert!(discoveries.contains_key(L2_IS_USED), "no frame is ever taken");
}

macro_rules! hold {
    ($($name:ident)*) => {
        mod holds {
            use super::*;
            $(
                #[test]
                fn $name() {
                    holds(stringify!($name), Scenario::$name());
                }
            )*
        }
    };
}

hold! { put_back cold_copy restarted restarted_overlapping two_rows processes altered schema learned kept pruned crash dump standby replaced }

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
    ($($name:ident: $remedy:ident, $scenario:ident, $invariant:ident;)*) => {
        mod needed {
            use super::*;
            $(
                #[test]
                fn $name() {
                    needs(Remedy::$remedy, Scenario::$scenario(), $invariant);
                }
            )*
        }
    };
}

needed! {
    start_time_in_incarnation: StartTimeInIncarnation, cold_copy, BoundedStaleness;
    last_batch_in_place: LastBatchInPlace, restarted, BoundedStaleness;
    landed_since_dropped: LandedSinceDropped, restarted, BoundedStaleness;
    above_last_batch_is_new: AboveLastBatchIsNew, restarted, BoundedStaleness;
    unlogged_life_id: UnloggedLifeId, crash, BoundedStaleness;
    triggers_whole: TriggersWhole, altered, BoundedStaleness;
    triggers_in_incarnation: TriggersInIncarnation, altered, BoundedStaleness;
    schema_in_incarnation: TriggersInIncarnation, schema, BoundedStaleness;
    nothing_of_standby: NothingOfStandby, standby, BoundedStaleness;
    frame_names_newest_change: FrameNamesNewestChange, put_back, BoundedStaleness;
    pass_looks_for_newest: PassLooksForNewest, put_back, BoundedStaleness;
    pass_looks_for_loads: PassLooksForLoads, put_back, BoundedStaleness;
    every_load_is_looked_for: EveryLoadIsLookedFor, two_rows, BoundedStaleness;
    load_not_below_pass: LoadNotBelowPass, put_back, BoundedStaleness;
    load_lands_in_our_log: LoadLandsInOurLog, put_back, BoundedStaleness;
    log_is_learned_to_the_end: LogIsLearnedToTheEnd, learned, BoundedStaleness;
    load_of_file_under_path: LoadOfFileUnderPath, replaced, BoundedStaleness;
    token_by_salt: TokenBySalt, put_back, ReadYourWrites;
    token_of_other_life_by_salt: TokenOfOtherLifeBySalt, cold_copy, ReadYourWrites;
    pruned_token_is_refused: PrunedTokenIsRefused, pruned, ReadYourWrites;
    position_of_our_life: PositionOfOurLife, cold_copy, NothingSkipped;
    position_by_salt: PositionBySalt, put_back, NothingSkipped;
}

const WALKS: u64 = 500;
const STEPS: usize = 400;

fn walks_hold(kind: Kind) {
    let Walk { judged, broken } = walk(kind, Remedies::ALL, 0..WALKS, STEPS);
    println!("{kind:?}: {judged:?}");
    if let Some((seed, invariants, steps)) = broken {
        panic!("seed {seed} breaks {invariants:?}: {steps:?}");
    }
    assert!(judged.copies > 500_000 && judged.tokens > 500_000, "{judged:?}");
}

#[test]
fn random_walks_over_postgres_find_nothing_wrong() {
    walks_hold(Kind::Postgres);
}

#[test]
fn random_walks_over_sqlite_find_nothing_wrong() {
    walks_hold(Kind::Sqlite);
}

/// So that a walk which finds nothing means something. Only walks find that the tables' oids are needed: where the triggers are
/// told from each other by their transactions, it takes a crash and a dump that is restored before and after it. That ids above
/// the last batch are new is left to the search above: walks hardly ever restart a server twice without a write.
#[test]
fn random_walks_find_each_missing_remedy() {
    let of_both = [
        Remedy::FrameOfOurLife,
        Remedy::PositionOfOurLife,
        Remedy::PrunedTokenIsRefused,
        Remedy::SleeperStartsAnew,
        Remedy::StartAtPruned,
    ];
    let of_postgres = [
        Remedy::StartTimeInIncarnation,
        Remedy::LastBatchInPlace,
        Remedy::LandedSinceDropped,
        Remedy::TablesInIncarnation,
        Remedy::UnloggedLifeId,
        Remedy::TriggersWhole,
        Remedy::TriggersInIncarnation,
        Remedy::NothingOfStandby,
        Remedy::TokenOfOtherLifeBySalt,
    ];
    let of_sqlite = [
        Remedy::FrameNamesNewestChange,
        Remedy::PassLooksForNewest,
        Remedy::PassLooksForLoads,
        Remedy::EveryLoadIsLookedFor,
        Remedy::LoadNotBelowPass,
        Remedy::LoadLandsInOurLog,
        Remedy::LogIsLearnedToTheEnd,
        Remedy::LoadOfFileUnderPath,
        Remedy::TokenBySalt,
        Remedy::PositionBySalt,
    ];
    let postgres = of_both.iter().chain(&of_postgres).map(|&remedy| (Kind::Postgres, remedy));
    let sqlite = of_sqlite.iter().map(|&remedy| (Kind::Sqlite, remedy));
    for (kind, remedy) in postgres.chain(sqlite) {
        let Walk { judged, broken } = walk(kind, Remedies::ALL.without(remedy), 0..20 * WALKS, STEPS);
        let Some((seed, invariants, steps)) = broken else {
            panic!("without {remedy:?}, {kind:?} holds in {judged:?} all the same");
        };
        println!("without {remedy:?}, {kind:?} breaks {invariants:?} (seed {seed}): {steps:?}");
    }
}
