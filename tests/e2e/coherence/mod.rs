//! What a read may return while the database changes, whoever changes it.
//!
//! [`interleavings`] races loads against changes and checks every read against the history.

#![expect(clippy::disallowed_methods, reason = "what is measured is real time, and every run draws other chances")]

mod history;
mod interleavings;
mod outsider;
mod readers;
mod shop;
mod writers;
