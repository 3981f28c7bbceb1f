//! The vocabulary of changes: what was committed, in which order, and in which life of the database.
//!
//! The storage reads changes from the log of a database, and the cache applies them to copies. Both speak of them in these types.
//! Only the subject of a [`Change`] differs: the storage names the product that was written, the cache the copies that may be
//! out of date.

mod incarnation;
mod log;
mod snapshot;
mod term;
mod trace_context;

pub use incarnation::{Incarnation, Lineage, Token, Witness};
pub use log::{Cause, Change, Changes, LogBatch, Recall, Recalled};
pub use snapshot::Snapshot;
pub use term::{ANY, Term};
pub use trace_context::TraceContext;
