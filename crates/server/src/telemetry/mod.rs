//! Logs and traces.
//!
//! Spans are made here and not by a layer of `tracing`: whether a call is traced is decided before anything is built, so that a call
//! that is not traced allocates nothing. They take the form of OTLP at once, and wait in a queue of bounded length for their export.

mod baggage;
mod export;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod json;
mod line_limit;
mod logs;
pub(crate) mod otlp;
mod slow;
mod span;
mod tracer;

pub(crate) use line_limit::LineLimit;
pub use logs::{init, set_filter};
pub(crate) use slow::SlowCalls;
pub(crate) use span::{CallSpan, attribute, now_nanos};
pub use tracer::{Tracer, Tracing};
pub(crate) use tracer::{caller, resource};
