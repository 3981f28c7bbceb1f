//! What every repository must do, run against both databases, and what each must do for itself.

#![allow(clippy::disallowed_methods, reason = "tests time and draw for themselves")]

mod basics;
mod bench;
mod hanging;
mod horizons;
mod imports;
mod invalidations;
mod languages;
mod lists;
mod lives;
mod log;
mod model;
mod poison;
mod postgres_only;
mod requests;
mod scripts;
mod searches;
mod shells;
mod sockets;
mod sqlite_only;
mod triggers;
mod upgrades;
mod whole_pages;
mod windows;

/// Runs each case once for each database, under the database's name.
macro_rules! for_both_databases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(crate::bench::Bench::postgres().await).await;
                }
            )*
        }
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(crate::bench::Bench::sqlite().await).await;
                }
            )*
        }
    };
}

for_both_databases! {
    basics::a_created_product_is_read_back,
    basics::an_id_is_created_once,
    basics::updates_change_what_the_mask_names,
    basics::a_version_is_a_precondition,
    basics::a_missing_product_is_created_when_allowed,
    basics::concurrent_upserts_of_one_product_all_succeed,
    basics::concurrent_updates_under_one_version_have_one_winner,
    basics::deletes_have_three_outcomes,
    basics::a_dry_run_changes_nothing,
    basics::versions_rise_and_are_not_used_again,
    basics::the_schema_refuses_what_a_product_cannot_be,
    basics::a_cancelled_write_leaves_no_trace_in_the_next,
    basics::several_connect_at_once,
    basics::a_migration_of_a_later_release_is_tolerated,
    basics::a_write_is_seen_by_whoever_sees_its_commit,
    basics::calls_are_timed,
    requests::a_repeated_creation_returns_the_first_reply,
    requests::concurrent_creations_with_one_request_id_create_once,
    requests::a_request_id_is_for_one_request,
    requests::updates_are_repeated_safely,
    requests::a_refused_request_is_not_remembered,
    requests::old_requests_are_forgotten,
    imports::every_outcome_is_told,
    imports::a_thousand_products_at_once,
    imports::text_comes_back_exactly,
    imports::products_are_created_in_the_order_of_the_import,
    imports::concurrent_imports_of_the_same_products,
    invalidations::each_kind_is_told_to_everybody,
    invalidations::a_thousand_keys_at_once,
    invalidations::a_refused_invalidation_leaves_nothing,
    invalidations::an_invalidation_with_a_request_id_is_done_once,
    invalidations::a_refused_invalidation_leaves_its_request_id,
    invalidations::ids_of_events_and_of_calls_are_of_two_name_spaces,
    invalidations::an_id_is_remembered_from_its_newest_call_on,
    invalidations::of_concurrent_calls_signed_at_one_time_one_counts,
    invalidations::an_invalidation_ends_the_wait_for_a_change,
    invalidations::invalidations_are_pruned_like_others,
    invalidations::a_replay_tells_what_came_after_a_snapshot,
    lists::every_order_in_both_directions,
    lists::pages_stay_complete_while_others_insert,
    lists::filters_and_ranges,
    lists::a_scan_reads_everything_once,
    lists::indexes_serve_the_orders,
    searches::words_and_prefixes_must_all_occur,
    searches::better_matches_come_first,
    searches::pages_of_a_search,
    searches::long_text_is_searched_to_its_limit,
    searches::a_pasted_title_finds_its_product,
    searches::hostile_words_are_words,
    log::puts_and_deletes_carry_versions_and_terms,
    log::requested_invalidations,
    log::a_pass_tells_each_change_once,
    log::waiting_ends_with_a_change,
    log::pruning_keeps_what_is_young,
    log::pruned_changes_are_not_missed_silently,
    log::a_clean_restart_keeps_the_incarnation,
    triggers::a_mark_that_was_removed_is_put_back,
    poison::a_remembered_reply_that_cannot_be_read_is_said_to_be,
    lives::another_life_is_named_by_hand,
    lives::a_commit_is_recalled_by_id_and_salt,
    shells::statements_typed_by_hand_are_logged,
    shells::a_row_typed_by_hand_gets_defaults,
    shells::an_id_cannot_be_changed,
    shells::a_bulk_update_of_100_000_rows,
    shells::savepoints_and_rolled_back_transactions,
    shells::an_upsert_by_hand_is_logged,
    model::random_writes_are_all_told,
    horizons::every_write_tells_its_horizon,
    whole_pages::a_whole_list_is_of_one_snapshot,
    whole_pages::a_whole_list_holds_what_its_filter_selects,
    whole_pages::a_whole_search_is_of_one_snapshot,
    whole_pages::whole_pages_are_like_others,
    windows::a_first_pass_and_another_incarnation_read_the_log_back,
    windows::more_than_the_limit_is_a_window,
    windows::a_window_cuts_no_transaction_in_two,
    windows::a_window_does_not_reach_below_what_was_pruned,
    windows::a_window_and_the_passes_after_it_miss_nothing,
    windows::versions_of_one_key_rise,
    windows::an_index_serves_the_window,
}
