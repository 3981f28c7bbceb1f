//! What fuzzing calls: one function for each format of files. Each takes any bytes, and panics where the parser breaks one of its
//! promises.

pub use crate::import::fuzzing::{import_csv, import_json};
