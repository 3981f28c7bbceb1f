//! Questions of operators: what the tiers hold of a key, and what an invalidation would drop.

pub(crate) mod dry_run;
pub(crate) mod inspect;

pub use dry_run::DryRun;
pub use inspect::{CopyState, Inspected, Unreachable};
