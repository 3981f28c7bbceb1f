//! What was acknowledged is there, whatever is killed.
//!
//! [`crashes`] kills the program and PostgreSQL during a stream of writes.

#![expect(clippy::disallowed_methods, reason = "what is measured is real time, and every run draws other chances")]

mod crashes;
mod ledger;
mod writer;
