//! What a read may return while the database changes, whoever changes it.
//!
//! [`interleavings`] races loads against changes and checks every read against the history; [`typed`] types changes into
//! psql and sqlite3; [`held`] holds a write transaction open; [`lives`] and
//! [`restores`] put another database in the place of the first.

#![expect(clippy::disallowed_methods, reason = "what is measured is real time, and every run draws other chances")]

mod held;
mod history;
mod interleavings;
mod lives;
mod outsider;
mod readers;
mod restores;
mod shop;
mod typed;
mod walks;
mod watch;
mod writers;

pub(crate) use outsider::Outsider;
