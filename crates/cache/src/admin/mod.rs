//! Questions of operators: what the tiers hold of a key, whether they work, and what an invalidation would drop.

mod dry_run;
mod inspect;

pub use dry_run::DryRun;
pub(crate) use dry_run::dry_run;
pub(crate) use inspect::Inspector;
pub use inspect::{CopyState, Inspected, Unreachable};
