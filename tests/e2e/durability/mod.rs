//! What was acknowledged is there, whatever is killed.
//!
//! [`crashes`] kills the program and PostgreSQL during a stream of writes; [`bulk`] imports a hundred thousand products
//! and loses none.

#![expect(clippy::disallowed_methods, reason = "what is measured is real time, and every run draws other chances")]

mod bulk;
mod crashes;
mod ledger;
mod writer;
