//! What every call goes through: its context, its way to a service, and the correction of tonic's own errors.
//!
//! Nothing here knows a service: [`Router`] is given those that it routes to.

mod admission;
pub(crate) mod body;
mod caller;
mod content_type;
mod context;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(super) mod headers;
pub(super) mod methods;
mod observed;
mod router;
mod shares;
mod sliced;
mod unfinished;
pub(crate) mod web;

pub use {admission::Admission, body::Inbound, context::CallLimits, observed::Observers, router::Router};
pub(super) use {
    caller::CallerKey,
    context::Deadline,
    shares::{Share, Shares},
    sliced::{SLICED_FROM, Sliced, WithProducts},
};
