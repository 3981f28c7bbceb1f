//! What every call goes through: its context, its way to a service, and the correction of tonic's own errors.
//!
//! Nothing here knows a service: [`Router`] is given those that it routes to.

mod body;
mod content_type;
mod context;
pub(super) mod headers;
pub(super) mod methods;
mod observed;
mod router;
mod sliced;

pub use {body::Inbound, context::CallLimits, observed::Observers, router::Router};
pub(super) use {
    context::Deadline,
    sliced::{SLICED_FROM, Sliced, WithProducts},
};
