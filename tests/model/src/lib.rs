//! A model of the coherence protocol, small enough to visit every state that it can reach.
//!
//! What a read may return is told in `docs/coherence.md`. Here the same is told as steps: of transactions, of readers, of
//! `learn`, of the follower. A checker tries them in every order, and after each one a judge, who sees everything, asks
//! whether an [`Invariant`] was broken. With every [`Remedy`] taken, none ever is (`tests/holds.rs`). With any one of them
//! missing, one is, and the checker shows the shortest way to it (`tests/remedies.rs`); run with `--nocapture` to read it.
//!
//! # Where to begin
//!
//! | file | what it tells |
//! | --- | --- |
//! | `remedies.rs` | what the protocol does, one line for each thing |
//! | `reader.rs` | a read: take the proof, capture; L1, or a frame that is judged, or a query; store what still stands, serve |
//! | `learn.rs` | remember, age, remove |
//! | `follower.rs` | a pass: note t0, ask, learn, publish; when knowledge starts anew |
//! | `knowledge.rs` | what is remembered of changes, and the judgement of a frame |
//! | `replica.rs` | a process: L1, generations, what goes on at once |
//! | `database.rs` | transactions that commit out of order, row locks, versions, the change log, W, another incarnation |
//! | `redis.rs`, `bus.rs` | the two adversaries |
//! | `invariants.rs` | what is promised, and the judge |
//! | `scenario.rs` | what may happen in one check |
//! | `model.rs` | every step there is |
//! | `lives/` | the same for a database with several lives: its history forks, ids are used again |
//!
//! # What stands for what
//!
//! - **Everybody else is an adversary.** Redis holds every frame that any load could have read so far and that any writer
//!   could have set, and returns any of them, or nothing. The bus brings every message that was ever sent, at any time, any
//!   number of times, or never. That is the most that other replicas can do, so one replica is looked at; `pair` looks
//!   at two. It also spares the state: what adversaries hold follows from what the database did.
//! - **Time is a pass.** A copy counts as fresh by the t0 of the pass that its reader took as proof, or by an age of its
//!   own; it must then show every commit that was made before. That t0 is within the bound is one comparison in a
//!   reader, and where it fails the reply is marked stale: nothing is promised of it.
//! - **A generation is whether it still is what was captured.** See [`Captured`].
//! - **There is one row**, and up to two lists that it may stand in. A change by somebody who has switched the triggers off,
//!   followed by a requested invalidation, shows what invalidations of a key and of everything are for: such a change draws
//!   no version.
//! - **One step is one step.** What the code does under one lock is one step here: store a copy that still stands; judge a
//!   frame; capture generation and rule counter. A statement is one step, and so is ageing all stripes of one change.
//!
//! Every check also asks that copies *are* used after a change, from L1 and from L2: a cache that caches nothing keeps every
//! promise.
//!
//! # Races, remedies, tests
//!
//! The numbers are those of the table of races in the design. The tests are in `tests/remedies.rs`, those in *italics* in
//! `tests/holds.rs`; from 15b on, both are in `tests/lives.rs`. Walks are those of the same file, which go at random where a search
//! to the end is too long: with all remedies they find nothing, and each missing one they find.
//!
//! | race | remedy | test |
//! | --- | --- | --- |
//! | 1: a load racing a change | [`Remedy::CaptureFirst`], [`Remedy::GenerationWhenStored`], [`Remedy::GenerationWhenServed`] | `capture_first`, `generation_when_stored`, `generation_when_served`, *updates* |
//! | 1: an L2 read between the steps of `learn` | [`Remedy::RememberBeforeAge`] | `remember_before_age` |
//! | 2: L1 filled from a slow L2 reply | [`Remedy::CaptureFirst`], [`Remedy::GenerationWhenStored`] | `capture_first`, `generation_when_stored` |
//! | 3: joining a load begun before the change | [`Remedy::CaptureInFlightKey`] | `capture_in_flight_key` |
//! | 4, 7: messages lost, or never sent | [`Remedy::Follower`], [`Remedy::LearnBeforePublish`] | `follower`, `learn_before_publish` |
//! | 5: doubled, reordered, late messages | [`Remedy::Maxima`], [`Remedy::LearnAgain`] | `maxima`, `learn_again` |
//! | 6: Redis returns what it likes | [`Remedy::ItemByVersion`], [`Remedy::FrameAboveInvalidation`], [`Remedy::NoFrameBeforePass`] | `item_by_version`, `frame_above_invalidation`, `no_frame_before_pass`, *invalidation* |
//! | 8: commits out of order; a long transaction | [`Remedy::SnapshotNotCursor`], [`Remedy::HorizonIsXmin`] | `snapshot_not_cursor`, `horizon_is_xmin`, *order* |
//! | 8b: pruned before it was read | [`Remedy::SleeperStartsAnew`], [`Remedy::StartAtPruned`], [`Remedy::FirstPassAges`] | `sleeper_starts_anew`, `start_at_pruned`, `first_pass_ages`, *forgetting* |
//! | 8b: knowledge forgotten | [`Remedy::FrameAboveStart`], [`Remedy::ForgettingRaisesStart`] | `frame_above_start`, `forgetting_raises_start`, *forgetting* |
//! | 8b: more changes than a pass takes in | [`Remedy::FloodStartsAnew`] | `flood_starts_anew`, *flood* |
//! | 9: delete, re-create, late fill | [`Remedy::DeleteDrawsVersion`] | `delete_draws_version`, *rebirth*, *late* |
//! | 9: late write-through of an older version | [`Remedy::OwnHorizonOfStatement`] | `own_horizon_of_statement`, *late* |
//! | 10: "not found" hides a create | [`Remedy::AbsenceByHorizon`], [`Remedy::HorizonIsXmin`] | `absence_by_horizon`, `horizon_is_xmin`, *creation* |
//! | 11: a row moves between lists | [`Remedy::OldTerms`], [`Remedy::ListByHorizon`], [`Remedy::GenerationWhenServed`] | `old_terms`, `list_by_horizon`, *moving*, *membership*, *shelf* |
//! | 12: a rule arrives during a load | [`Remedy::RuleCounterCaptured`], [`Remedy::FrameAboveRules`] | `rule_counter_captured`, `frame_above_rules`, *rules* |
//! | 13: own write stored over a newer one | [`Remedy::OwnWriteNotStored`] | `own_write_not_stored` |
//! | 14: suspended between two checks | [`Remedy::ProofReadFirst`], [`Remedy::TimeBeforeQuery`], [`Remedy::OnlyLoadsHaveAge`] | `proof_read_first`, `time_before_query`, `only_loads_have_age` |
//! | 15: the database loses commits | [`Remedy::FrameOfOurLife`], [`Remedy::FollowerNoticesLife`], [`Remedy::MessageOfOurLife`] | `frame_of_our_life`, `follower_notices_life`, `message_of_our_life`, *lives* |
//! | 15, 15b: PostgreSQL put back, restored, crashed | [`Remedy::StartTimeInIncarnation`], [`Remedy::TablesInIncarnation`], [`Remedy::UnloggedLifeId`] | `start_time_in_incarnation`, `unlogged_life_id`, walks, *`cold_copy`*, *dump*, *crash* |
//! | 15b: SQLite put back, under processes that run on or start | [`Remedy::FrameNamesNewestChange`], [`Remedy::PassLooksForNewest`] | `frame_names_newest_change`, `pass_looks_for_newest`, *`put_back`*, *processes* |
//! | 15b: put back between two passes, and loads in between | [`Remedy::PassLooksForLoads`], [`Remedy::EveryLoadIsLookedFor`], [`Remedy::LoadNotBelowPass`], [`Remedy::LoadLandsInOurLog`] | `pass_looks_for_loads`, `every_load_is_looked_for`, `load_not_below_pass`, `load_lands_in_our_log`, *`put_back`*, *`two_rows`* |
//! | 15b: put back, and forth again, after a change was learned | [`Remedy::LogIsLearnedToTheEnd`] | `log_is_learned_to_the_end`, *learned* |
//! | 15b: tokens of a lost life | [`Remedy::TokenBySalt`], [`Remedy::TokenOfOtherLifeBySalt`], [`Remedy::PrunedTokenIsRefused`] | `token_by_salt`, `token_of_other_life_by_salt`, `pruned_token_is_refused`, *kept*, *pruned* |
//! | 15b: watch positions of a lost life | [`Remedy::PositionOfOurLife`], [`Remedy::PositionBySalt`] | `position_of_our_life`, `position_by_salt` |
//! | 15c: triggers off, and on again | [`Remedy::TriggersWhole`], [`Remedy::TriggersInIncarnation`] | `triggers_whole`, `triggers_in_incarnation`, `schema_in_incarnation`, *altered*, *schema* |
//! | 15d: a load from a file that is not under the path, or from a standby | [`Remedy::LoadOfFileUnderPath`], [`Remedy::NothingOfStandby`] | `load_of_file_under_path`, `nothing_of_standby`, *replaced*, *standby* |
//! | 17, 20: late lease holders, refreshes | they are loads like any other: a frame may come at any time | *updates* |
//! | 18: a partition | a pass may fail at any step, and then publishes nothing | every check |
//! | 19: a bulk change | one rule for everything | *rules* |
//!
//! # How much is searched
//!
//! The scenarios of `tests/holds.rs` have 0.2 to 6.3 million states each, those of `tests/lives.rs` 5,000 to 370,000. The walks
//! take 500 times 400 steps over each kind of database, with 60 commits and 40 forks in two replicas at most. After each step every
//! copy, token and position that a reader could be given is judged: about a million copies, and two million of the rest. A walk
//! that breaks an invariant is told with its seed, and as few of its steps as break it.
//!
//! # What is not here
//!
//! Clocks (16), leases as such (17), deadlines, stale serving, the matching of rules by tag, lists by more than one term,
//! `same_snapshot`, and an old primary that still answers after another took its place.

mod bus;
mod database;
mod follower;
mod invariants;
mod knowledge;
mod learn;
pub mod lives;
mod model;
mod reader;
mod redis;
mod remedies;
mod replica;
mod scenario;

pub use database::{Change, Content, Database, Phase, Snapshot, Tx, Version, Written, Xid};
pub use follower::{Answer, Pass};
pub use invariants::{Invariant, Invariants, Proof};
pub use knowledge::{Knowledge, Known};
pub use learn::Learning;
pub use model::{L1_IS_USED, L2_IS_USED, Protocol, Step, World};
pub use reader::{Floors, Found, Reader};
pub use redis::{Frame, Redis};
pub use remedies::{Remedies, Remedy};
pub use replica::{Captured, Entry, Replica, View};
pub use scenario::{Fault, Scenario, Script, Subject, Term};
