//! The whole server over gRPC, built as in production, with real databases.
//!
//! Each test starts what it needs on free ports and stops it. Most run once on each database; its name ends theirs.

mod harness;

mod bad_input;
mod caching;
mod coherence;
mod durability;
mod freshness;
mod health;
mod imports;
mod loads;
mod masks;
mod metadata;
mod outage;
mod paging;
mod readme;
mod reads;
mod reflection;
mod searches;
mod shutdown;
mod smoke;
mod startup;
mod write_calls;
mod writes;
