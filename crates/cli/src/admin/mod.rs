//! The commands that call `larder.admin.v1.CacheAdmin`.

mod deep;
mod hot;
mod inspect;
mod invalidate;
mod purge;
mod stats;
mod top;
mod warm;

pub(super) use deep::check as check_deeply;
pub(super) use hot::Hot;
pub(super) use inspect::Inspect;
pub(super) use invalidate::Invalidate;
pub(super) use purge::Purge;
pub(super) use stats::Stats;
pub(super) use top::Top;
pub(super) use warm::Warm;

use larder_proto::{admin::Replica, catalog::CacheTier};

use super::{CliError, output::plain, units};

/// The name of a tier.
fn tier_name(tier: CacheTier) -> &'static str {
    match tier {
        CacheTier::L1 => "L1",
        CacheTier::L2 => "L2",
        CacheTier::Database => "database",
        CacheTier::Unspecified => "?",
    }
}

/// Describes a replica: its host and port, release, uptime and id.
fn describe(replica: Option<&Replica>) -> String {
    let Some(replica) = replica else { return "a replica that does not say which".to_owned() };
    let Replica { id, name, version, uptime } = replica;
    let uptime = units::show_time(uptime.as_ref());
    if name.is_empty() {
        // Other replicas hear of a new replica before they hear its name.
        return format!("(no name yet)  up {uptime}, id {}", plain(id));
    }
    format!("{}  {}, up {uptime}, id {}", plain(name), plain(version), plain(id))
}

/// A line for each replica that did not answer.
fn silent(replicas: &[Replica]) -> impl Iterator<Item = String> {
    replicas.iter().map(|replica| format!("silent: {}", describe(Some(replica))))
}
