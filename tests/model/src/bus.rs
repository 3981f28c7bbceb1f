//! The bus: it loses, delays, doubles and reorders.

use crate::{Change, Database, Protocol, Remedy};

/// Every message that may arrive now at a replica that knows of `life`: any that was ever sent, any number of times, or
/// never.
///
/// Whoever commits sends, and a change typed into psql is sent as well: more can arrive than would, never less. Messages of
/// another incarnation are dropped at the door, for their numbers mean nothing here. Before its first pass a replica knows
/// of none, and drops all of them.
pub(crate) fn messages(world: &Protocol, database: &Database, life: u8) -> impl Iterator<Item = Change> {
    let any = !world.has(Remedy::MessageOfOurLife);
    database.commits.iter().chain(&database.lost).copied().filter(move |change| any || change.life == life)
}
