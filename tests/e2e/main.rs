//! The whole server over gRPC, built as in production, with real databases.
//!
//! Each test starts what it needs on free ports and stops it. Most run once on each database; its name ends theirs.

#![allow(
    clippy::assigning_clones,
    clippy::needless_pass_by_value,
    clippy::nonminimal_bool,
    clippy::similar_names,
    clippy::type_complexity,
    reason = "tests are read more often than run: the plainer form wins"
)]

#[allow(dead_code, unused_imports, reason = "a harness offers more than the tests of the day use")]
mod harness;

mod admin;
mod admin_cli;
mod arriving;
mod attacks;
mod bad_input;
mod caching;
mod calls_page;
mod coherence;
mod compat;
mod durability;
mod events;
mod exports;
mod failover;
mod files;
mod freshness;
mod hanging;
mod health;
mod http;
mod imports;
mod kubernetes;
mod loads;
mod logs;
mod masks;
mod metadata;
mod metrics;
mod outage;
mod paging;
mod poison;
mod reads;
mod redis_topologies;
mod reflection;
mod searches;
mod security;
mod session;
mod shutdown;
mod smoke;
mod startup;
mod together;
mod traces;
mod tutorial;
mod watch_cli;
mod watching;
mod write_calls;
mod writes;
