//! A model.

mod bus;
mod database;
mod follower;
mod invariants;
mod knowledge;
mod learn;
mod model;
mod reader;
mod redis;
mod remedies;
mod replica;
mod scenario;

pub use database::{Change, Content, Database, Phase, Snapshot, Tx, Version, Written, Xid};
pub use follower::{Answer, Pass};
pub use invariants::{Invariant, Invariants, Proof};
pub use knowledge::{Knowledge, Known};
pub use learn::Learning;
pub use model::{L1_IS_USED, L2_IS_USED, Protocol, Step, World};
pub use reader::{Floors, Found, Reader};
pub use redis::{Frame, Redis};
pub use remedies::{Remedies, Remedy};
pub use replica::{Captured, Entry, Replica, View};
pub use scenario::{Scenario, Script, Subject, Term};
