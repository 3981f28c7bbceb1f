//! What every call goes through: its context, its way to a service, and the correction of tonic's own errors.
//!
//! Nothing here knows a service: [`Router`] is given those that it routes to.

pub(crate) mod body;
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

pub use {body::Inbound, context::CallLimits, observed::Observers, router::Router};
pub(super) use {
    context::{Deadline, peer_of},
    shares::{Share, Shares},
    sliced::{SLICED_FROM, Sliced, WithProducts},
};
